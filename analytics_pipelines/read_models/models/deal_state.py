"""Where a deal stands."""

from analytics_pipelines.read_models.columns import Derived, earliest, last, latest
from analytics_pipelines.read_models.declaration import ReadModel

_EVENTS = ("deal_opened", "deal_stage_changed", "deal_amount_changed", "deal_won", "deal_lost")
_EXPECTED = ("deal_opened", "deal_amount_changed")
_OUTCOME = ("deal_won", "deal_lost")


def _of(event: str, name: str) -> str:
    # The other outcome's payload may hold a field of the name that no schema has looked at.
    return f"case event_type when '{event}' then data ->> '{name}' end"


MODEL = ReadModel(
    name="deal_state",
    grain="One row per tenant and deal: where it stands. Of several outcomes the last one holds.",
    key={"deal_id": "The deal"},
    columns=(
        last("lead_id", "text", "The lead it is with", *_EVENTS),
        last("sales_representative_id", "text", "Whose it is: who was named last, by its opening or its outcome",
             "deal_opened", *_OUTCOME, where="data ->> 'sales_representative_id' is not null"),
        earliest("opened_at", "When it was opened (UTC)", "deal_opened"),
        last("opened_amount", "numeric", "What it was expected to bring when it was opened", "deal_opened",
             value="data ->> 'amount'"),
        last("expected_amount", "numeric", "What it was last expected to bring, before any outcome", *_EXPECTED,
             value="data ->> 'amount'"),
        last("opened_currency", "text", "ISO 4217 code of `opened_amount`", "deal_opened", value="data ->> 'currency'"),
        last("expected_currency", "text", "ISO 4217 code of `expected_amount`", *_EXPECTED,
             value="data ->> 'currency'"),
        last("won_currency", "text", "ISO 4217 code of `won_amount`", *_OUTCOME, value=_of("deal_won", "currency")),
        Derived("currency", "text", "ISO 4217 code of what it brought, or is expected to bring",
                "coalesce(won_currency, expected_currency)"),
        last("stage", "text", "Stage of the funnel, by the newest change; null before the first", "deal_stage_changed"),
        last("probability", "numeric", "How likely it is won, 0 to 1, as told with that stage", "deal_stage_changed"),
        last("outcome", "text", "won or lost; null while it is open", *_OUTCOME,
             value="case event_type when 'deal_won' then 'won' else 'lost' end"),
        latest("closed_at", "When it was won or lost (UTC)", *_OUTCOME),
        last("won_amount", "numeric", "What it brought; null unless it is won", *_OUTCOME,
             value=_of("deal_won", "amount")),
        last("lost_reason", "text", "Why it was lost; null unless it is", *_OUTCOME, value=_of("deal_lost", "reason")),
        latest("last_event_at", "Newest event of the row (UTC)", *_EVENTS),
    ),
)  # fmt: skip
