-- A refused event that nobody will put through can be dismissed: it stays, and waits no longer.
set local role pipelines_log_owner;

alter table event_log.quarantine
    drop constraint quarantine_outcome_check,
    add constraint quarantine_outcome_check
    check (outcome in ('accepted', 'duplicate', 'quarantined', 'dismissed'));
comment on column event_log.quarantine.redriven_at is 'When it was put through again, or dismissed, the newest time (UTC); null before';
comment on column event_log.quarantine.outcome is 'What became of it then: accepted, duplicate, quarantined again (kind and reason are the new ones), or dismissed';
comment on function event_log.mark_redriven is 'Write down what became of quarantined events that were put through again or dismissed; their bytes stay';

create function event_log.reopen_dismissed(for_tenant text, digests bytea[], kinds text[]) returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    update event_log.quarantine as q
    set outcome = null, redriven_at = null
    from unnest(digests, kinds) as refused (digest, kind)
    where q.tenant_id = for_tenant and q.digest = refused.digest and q.kind = refused.kind and q.outcome = 'dismissed';
end;
comment on function event_log.reopen_dismissed is 'What was dismissed and is refused again waits again';
revoke all on function event_log.reopen_dismissed from public;
grant execute on function event_log.reopen_dismissed to pipelines_runtime;
