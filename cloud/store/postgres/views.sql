-- Views for people with psql: one for each question that a support manager asks. Each begins with a comment
-- of its name, its question and the tables it needs; it is made when all of these are there.
--
-- A view shows one tenant at a time, like everything here: set hearth.tenant = 'acme' first.

--@ open_matters | Which matters are open, whose are they and for how long? | tickets, homes, devices
select t.doc->>'id' as ticket, t.doc->>'state' as state, t.doc->>'title' as title,
	t.doc->>'segment' as blamed, t.doc->>'owner' as owner, (t.doc->>'opened')::timestamptz as opened,
	date_trunc('minute', now() - (t.doc->>'opened')::timestamptz) as age,
	h.doc->>'name' as home_name, d.doc->>'model' as model, d.doc->>'firmware' as firmware,
	t.doc->>'problem' as problem, t.doc->>'home' as home
from tickets t
left join homes h on h.tenant = t.tenant and h.home = t.doc->>'home'
left join devices d on d.tenant = t.tenant and d.home = t.doc->>'home' and d.device = t.doc->>'device'
where t.doc->>'state' <> 'solved'
order by opened

--@ promises_due | What did we promise, to whom, and is it late? | contacts, customers
select (c.doc->'promise'->>'due')::timestamptz as due,
	(c.doc->'promise'->>'due')::timestamptz < now() as late,
	c.doc->'promise'->>'text' as promise, p.doc->>'name' as customer_name, c.doc->>'channel' as channel,
	(c.doc->>'at')::timestamptz as made, c.doc->>'text' as what_they_said, c.doc->>'home' as home
from contacts c
left join customers p on p.tenant = c.tenant and p.customer = c.doc->>'customer'
where c.doc ? 'promise' and not c.doc ? 'kept'
order by due

--@ callers | Who is behind a phone number, and what is open there? | customers, customers_by_phone, memberships, homes, tickets
select n.phone, p.doc->>'name' as customer_name, p.doc->>'language' as language, m.doc->>'role' as role,
	h.doc->>'name' as home_name, m.begins as lives_there_since,
	(select count(*) from tickets t where t.tenant = m.tenant and t.doc->>'home' = m.home and t.doc->>'state' <> 'solved') as open_matters,
	p.customer, m.home
from customers_by_phone n
join customers p on p.tenant = n.tenant and p.customer = n.customer
left join memberships m on m.tenant = p.tenant and m.customer = p.customer and not m.doc ? 'end'
left join homes h on h.tenant = m.tenant and h.home = m.home

--@ devices_offline | Which devices are away, since when, and whose are they? | device_states, devices, homes
select d.doc->>'name' as device_name, d.doc->>'model' as model, d.doc->>'firmware' as firmware,
	(s.doc->>'since')::timestamptz as since, date_trunc('minute', now() - (s.doc->>'since')::timestamptz) as away_for,
	h.doc->>'name' as home_name, h.doc->>'isp' as isp, h.doc->>'region' as region, s.home, s.device
from device_states s
join devices d on d.tenant = s.tenant and d.home = s.home and d.device = s.device
left join homes h on h.tenant = s.tenant and h.home = s.home
where not (s.doc->>'online')::boolean
order by since

--@ days | How did each day go: what broke, what did we fix, whom did we tell, who had to come to us? | entries
select happened::date as day,
	count(*) filter (where doc->>'kind' = 'symptom.seen') as symptoms,
	count(*) filter (where doc->>'kind' = 'risk.raised') as risks,
	count(*) filter (where doc->>'kind' = 'fix.verified') as fixed,
	count(*) filter (where doc->>'kind' in ('fix.rolled_back', 'fix.failed')) as not_fixed,
	count(*) filter (where doc->>'kind' = 'customer.told') as customers_told,
	count(*) filter (where doc->>'kind' = 'contact.received') as contacts,
	count(*) filter (where doc->>'kind' = 'ticket.opened') as tickets,
	count(*) filter (where doc->>'kind' = 'session.opened') as remote_sessions
from entries
group by day
order by day desc

--@ fixes | Which fixes hold, and which are rolled back? | entries
select doc->'args'->>'action' as action,
	count(*) filter (where doc->>'kind' = 'fix.applied') as applied,
	count(*) filter (where doc->>'kind' = 'fix.verified') as held,
	count(*) filter (where doc->>'kind' = 'fix.rolled_back') as rolled_back,
	count(*) filter (where doc->>'kind' = 'fix.failed') as failed,
	max(happened) as last
from entries
where doc->>'kind' in ('fix.applied', 'fix.verified', 'fix.rolled_back', 'fix.failed')
group by action
order by applied desc

--@ came_again | Who had to contact us more than once within a week? | contacts, customers
select p.doc->>'name' as customer_name, count(*) as contacts, array_agg(distinct c.doc->>'channel') as channels,
	min((c.doc->>'at')::timestamptz) as first, max((c.doc->>'at')::timestamptz) as last, c.doc->>'customer' as customer
from contacts c
join customers p on p.tenant = c.tenant and p.customer = c.doc->>'customer'
where (c.doc->>'at')::timestamptz > now() - interval '7 days'
group by c.doc->>'customer', p.doc->>'name'
having count(*) > 1
order by contacts desc

--@ time_to_solve | How long do matters take, by what was to blame? | tickets
select date_trunc('week', (doc->>'closed')::timestamptz)::date as week, doc->>'segment' as blamed, count(*) as solved,
	percentile_disc(0.5) within group (order by (doc->>'closed')::timestamptz - (doc->>'opened')::timestamptz) as half_within,
	percentile_disc(0.9) within group (order by (doc->>'closed')::timestamptz - (doc->>'opened')::timestamptz) as nine_tenths_within
from tickets
where doc ? 'closed'
group by week, blamed
order by week desc, solved desc

--@ bad_batches | Which batches of devices are going bad, and how many homes feel it? | problems
select doc->>'state' as state, doc->'cohort' as cohort, (doc->>'since')::timestamptz as since,
	(doc->'evidence'->>'faulty')::int as faulty, (doc->'evidence'->>'devices')::int as devices,
	(doc->>'homes')::int as homes, (doc->>'tickets')::int as tickets, problem
from problems
order by since desc

--@ stuck_effects | What did we fail to do, after all attempts? | jobs
select queue, id, attempts, error, due, buried
from jobs
where buried is not null and tenant = current_setting('hearth.tenant', true)
order by buried
