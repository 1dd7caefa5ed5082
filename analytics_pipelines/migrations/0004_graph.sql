-- The relationship graph and its scores.
create schema if not exists graph authorization pipelines_runtime;
set local role pipelines_runtime;
comment on schema graph is 'Who introduced whom, what is bought together, and what follows from it';

create table graph.edges (
    tenant_id text not null,
    graph text not null,
    source_id text not null,
    target_id text not null,
    weight double precision not null check (weight > 0),
    interactions bigint not null check (interactions > 0),
    first_at timestamptz not null,
    last_at timestamptz not null,
    primary key (tenant_id, graph, source_id, target_id),
    check (source_id <> target_id)
);
comment on table graph.edges is 'One row per tenant, graph and pair of nodes; in an undirected graph each pair stands once';
comment on column graph.edges.tenant_id is 'Whose data';
comment on column graph.edges.graph is 'introductions (directed: source introduced target) or co_purchase (undirected: products bought in the same order)';
comment on column graph.edges.source_id is 'introductions: the lead who introduced; co_purchase: the product whose id sorts first';
comment on column graph.edges.target_id is 'introductions: the lead who was introduced; co_purchase: the other product';
comment on column graph.edges.weight is 'How close: introductions: how often; co_purchase: orders with both / sqrt(orders with source x orders with target), 0 to 1';
comment on column graph.edges.interactions is 'How often: introductions made, or orders that hold both products';
comment on column graph.edges.first_at is 'Event time of the first of them (UTC)';
comment on column graph.edges.last_at is 'Event time of the last of them (UTC)';

create table graph.nodes (
    tenant_id text not null,
    graph text not null,
    node_id text not null,
    label text not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    primary key (tenant_id, graph, node_id)
);
comment on table graph.nodes is 'One row per tenant, graph and end of an edge; who has no edge is no node';
comment on column graph.nodes.tenant_id is 'Whose data';
comment on column graph.nodes.graph is 'As in graph.edges';
comment on column graph.nodes.node_id is 'introductions: lead_id; co_purchase: product_id';
comment on column graph.nodes.label is 'What to call it: the product''s name where it is known, else the id; not unique';
comment on column graph.nodes.first_at is 'Event time of the first interaction on any of its edges (UTC)';
comment on column graph.nodes.last_at is 'Event time of the last interaction on any of its edges (UTC)';

create table graph.centralities (
    tenant_id text not null,
    graph text not null,
    node_id text not null,
    degree integer not null,
    in_degree integer,
    out_degree integer,
    pagerank double precision not null,
    primary key (tenant_id, graph, node_id)
);
comment on table graph.centralities is 'One row per tenant, graph and node: how central it is';
comment on column graph.centralities.tenant_id is 'Whose data';
comment on column graph.centralities.graph is 'As in graph.edges';
comment on column graph.centralities.node_id is 'As in graph.nodes';
comment on column graph.centralities.degree is 'How many edges end at the node: in_degree + out_degree where the graph is directed';
comment on column graph.centralities.in_degree is 'How many leads introduced this one; null where the graph is undirected';
comment on column graph.centralities.out_degree is 'How many leads this one introduced; null where the graph is undirected';
comment on column graph.centralities.pagerank is 'Share of the random surfer''s time, 0 to 1; sums to 1 over a tenant''s graph. In introductions it flows to those who were introduced';

create table graph.communities (
    tenant_id text not null,
    graph text not null,
    node_id text not null,
    community integer not null check (community > 0),
    community_size integer not null check (community_size > 0),
    primary key (tenant_id, graph, node_id)
);
comment on table graph.communities is 'One row per tenant, graph and node: which nodes belong together';
comment on column graph.communities.tenant_id is 'Whose data';
comment on column graph.communities.graph is 'As in graph.edges';
comment on column graph.communities.node_id is 'As in graph.nodes';
comment on column graph.communities.community is 'Number within the tenant''s graph, 1 is the largest; no identity: it may mean another group after the next build';
comment on column graph.communities.community_size is 'How many nodes the community has';
