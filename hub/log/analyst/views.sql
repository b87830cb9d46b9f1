-- What analysts see. Times are UTC. Made once in each instance, over two relations of its own:
--
--   log       everything that instance may see, shaped as an event: sealed files and what is newer.
--             `first` (it follows no other) is for joins only, `payload` may still be encrypted.
--   declared  each agent as it was last declared, deleted ones too
--
-- A filter on `agent` must reach the files: no view hides the column in an expression, and every
-- window and join has it among its keys. `hub` stands first: `count(*)` over a union reads the first
-- column, and this one is in no file.

-- events: everything that happened, one row each. What a device sent besides numbers is decrypted
-- while its key is there, NULL after.
CREATE VIEW events AS
SELECT
    hub,  -- id of the log
    seq,  -- counts from 1 without a gap and is never given twice
    ts,  -- the hub's clock, which may be set: order by seq
    device_ts,  -- the device's clock, as it says
    kind,  -- observation, action, refused, admin, …
    version,  -- of the event's form
    agent,  -- empty: of no agent, as what users do
    device,
    session,  -- one connection or login
    boot,  -- one run of the device's own counter
    step,  -- as the device counts, the same of an observation and its action
    obs,  -- the observation's numbers, flat
    action,  -- as it was sent; NULL after the end of an episode
    executed,  -- what the device says that it did for the step before
    reward,  -- of the action before this observation
    terminated,  -- the episode ended with this observation
    truncated,  -- it was cut short there
    policy,  -- version that chose the action
    logprob,  -- of the action, when it was drawn
    value,  -- of the observation, as the policy held it
    source,  -- who chose: policy, advice, fallback, clamp, override; refused with one: it was late
    reason,  -- why a fallback, a clamp or a refusal
    latency_us,  -- from the observation's arrival to the choice
    CASE WHEN starts_with(payload, 'sealed:1:') THEN reveal(device, payload) ELSE payload END
        AS payload  -- JSON, what no column holds
FROM log;

CREATE VIEW declared AS
WITH made AS (
    SELECT
        agent,
        max(seq) AS seq,
        min(ts) AS created,
        max(ts) AS changed,
        arg_max(payload, seq)::JSON -> 'agent' AS fact
    FROM log
    WHERE kind = 'admin' AND starts_with(payload, '{"type":"agent_made"')
    GROUP BY agent
)
SELECT
    agent,
    fact ->> 'algorithm' AS algorithm,
    fact ->> 'status' AS status,
    fact ->> 'owner' AS owner,
    fact -> 'observations' AS observations,
    fact -> 'actions' AS actions,
    fact -> 'parameters' AS parameters,
    fact ->> 'sharing' AS sharing,
    fact -> 'fallback' AS fallback,
    (fact ->> 'deadline_ms')::INTEGER AS deadline_ms,
    (fact ->> 'missing_reward')::DOUBLE AS missing_reward,
    (fact ->> 'learning')::BOOLEAN AS learning,
    (fact ->> 'seed')::UBIGINT AS seed,
    created,
    changed,
    seq
FROM made;

-- agents: each agent that has not been deleted.
CREATE VIEW agents AS
SELECT * FROM declared WHERE status <> 'deleted';

-- transitions: observation, action, reward and the observation that really followed.
-- The next observation is the device's next in the order of the log, not the one with the next
-- number: a device that starts again with a boot number it has used would join its two lives. It
-- must then also be of the same boot, the next step and not a first one, so that a gap, a restart
-- or the end of an episode joins nothing. (A device that comes back to an agent says it is first.)
-- Nor does anything follow a step that its boot had reached before: a late copy of a message, taken
-- for a boot anew, has an action beside it that the device never heard of.
-- The action is the one executed where the device says so, and then nobody's policy chose it. One
-- that safety rules clamped was not drawn either: its event has the probability of what was wanted.
CREATE VIEW transitions AS
WITH observation AS (
    SELECT
        agent,
        device,
        session,
        boot,
        step,
        obs,
        terminated,
        truncated,
        seq,
        max(step) OVER before AS reached,
        lead(seq) OVER following AS next_seq,
        lead(boot) OVER following AS next_boot,
        lead(step) OVER following AS next_step,
        lead(obs) OVER following AS next_obs,
        lead(reward) OVER following AS next_reward,
        lead(executed) OVER following AS next_executed,
        lead(first) OVER following AS next_first,
        lead(terminated) OVER following AS next_terminated,
        lead(truncated) OVER following AS next_truncated
    FROM log
    WHERE kind = 'observation'
    WINDOW
        following AS (PARTITION BY agent, device ORDER BY seq),
        before AS (
            PARTITION BY agent, device, boot ORDER BY seq
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
),
followed AS (
    SELECT *
    FROM observation
    WHERE next_boot = boot
      AND step > coalesce(reached, -1)
      AND next_step = step + 1
      AND NOT coalesce(next_first, false)
      AND NOT coalesce(terminated, false)
      AND NOT coalesce(truncated, false)
),
answer AS (
    SELECT
        agent,
        device,
        boot,
        step,
        action,
        policy,
        logprob,
        source,
        seq,
        lag(seq, 1, 0) OVER (PARTITION BY agent, device, boot, step ORDER BY seq) AS seq_before
    FROM log
    WHERE kind = 'action' AND action IS NOT NULL
),
-- An action may be logged after the next observation, so it is found by its step: the first
-- answer after the observation, which is the one that was sent. (An ASOF join says the same, and
-- took over a minute where this takes one second: 312,500 observations, DuckDB 2.0.)
acted AS (
    SELECT
        followed.*,
        answer.action AS answer_action,
        answer.policy AS answer_policy,
        answer.logprob AS answer_logprob,
        answer.source AS answer_source,
        next_executed IS NOT NULL AND next_executed IS DISTINCT FROM answer.action AS overridden
    FROM followed
    LEFT JOIN answer
      ON answer.agent = followed.agent
     AND answer.device = followed.device
     AND answer.boot = followed.boot
     AND answer.step = followed.step
     AND answer.seq > followed.seq
     AND answer.seq_before < followed.seq
)
SELECT
    acted.agent,
    acted.device,
    acted.session,
    acted.boot,
    acted.step,
    acted.obs,
    coalesce(acted.next_executed, acted.answer_action) AS action,
    coalesce(acted.next_reward, declared.missing_reward) AS reward,
    acted.next_obs,
    coalesce(acted.next_terminated, false) AS terminated,
    coalesce(acted.next_truncated, false) AS truncated,
    CASE WHEN NOT overridden THEN acted.answer_policy END AS policy,
    CASE
        WHEN NOT overridden AND acted.answer_source IS DISTINCT FROM 'clamp'
        THEN acted.answer_logprob
    END AS logprob,
    CASE WHEN overridden THEN 'override' ELSE acted.answer_source END AS source,
    acted.next_seq AS seq
FROM acted
LEFT JOIN declared ON declared.agent = acted.agent
WHERE coalesce(acted.next_executed, acted.answer_action) IS NOT NULL
  AND coalesce(acted.next_reward, declared.missing_reward) IS NOT NULL;

-- episodes: each finished episode; `return` is the undiscounted sum of its rewards.
CREATE VIEW episodes AS
SELECT
    agent,
    device,
    session,
    (payload ->> 'episode')::BIGINT AS episode,
    make_timestamp((payload ->> 'started')::BIGINT) AS started,
    ts AS ended,
    (payload ->> 'steps')::BIGINT AS steps,
    (payload ->> 'total_reward')::DOUBLE AS "return",
    payload ->> 'ended_by' AS ended_by
FROM log
WHERE kind = 'episode';

-- devices: each device that was added or ever sent something, and where it was last; the agent is
-- NULL once the device was forgotten. `refused` is what it sent, not an action that came too late.
CREATE VIEW devices AS
WITH named AS (
    SELECT
        payload ->> 'device' AS device,
        arg_max({'agent': CASE payload ->> 'type' WHEN 'device_added' THEN agent END}, seq) AS last,
        max(seq) AS seq,
        min(ts) AS first_named
    FROM log
    WHERE kind = 'admin'
      AND (
          starts_with(payload, '{"type":"device_added"')
          OR starts_with(payload, '{"type":"device_forgotten"')
      )
    GROUP BY ALL
),
heard AS (
    SELECT
        device,
        arg_max(agent, seq) FILTER (kind = 'observation') AS agent,
        max(seq) FILTER (kind = 'observation') AS observed,
        max(session) AS session,
        arg_max(boot, seq) FILTER (kind = 'observation') AS boot,
        arg_max(step, seq) FILTER (kind = 'observation') AS step,
        min(ts) AS first_seen,
        max(ts) FILTER (kind IN ('hello', 'observation')) AS last_seen,
        count(*) FILTER (kind = 'observation') AS observations,
        count(*) FILTER (kind = 'action') AS actions,
        count(*) FILTER (kind = 'refused' AND source IS NULL) AS refused,
        count(*) FILTER (kind = 'episode') AS episodes,
        max(seq) AS seq
    FROM log
    WHERE device <> '' AND kind <> 'admin'
    GROUP BY device
),
greeted AS (
    SELECT device, arg_max(payload, seq)::JSON AS hello
    FROM log
    WHERE kind = 'hello'
    GROUP BY device
)
SELECT
    device,
    CASE
        WHEN named.seq IS NULL OR heard.observed > named.seq THEN heard.agent
        ELSE named.last.agent
    END AS agent,
    hello ->> 'protocol' AS protocol,
    hello -> 'hello' ->> 'dt' AS device_type,
    hello -> 'hello' ->> 'fw' AS firmware,
    session,
    boot,
    step,
    coalesce(first_seen, first_named) AS first_seen,
    last_seen,
    coalesce(observations, 0) AS observations,
    coalesce(actions, 0) AS actions,
    coalesce(refused, 0) AS refused,
    coalesce(episodes, 0) AS episodes,
    greatest(heard.seq, named.seq) AS seq
FROM heard
FULL JOIN named USING (device)
LEFT JOIN greeted USING (device);

-- policies: each version of each agent's policy, what was measured when it was made, and the
-- devices that it tells apart and its parent did not: by a slot, or by a network of their own, as its
-- agent's `sharing` was at `position`. The first after a change of that names all anew.
CREATE VIEW policies AS
SELECT
    agent,
    policy AS version,
    seq,
    ts AS created,
    payload ->> 'sha256' AS sha256,
    (payload ->> 'parent')::BIGINT AS parent,
    (payload ->> 'position')::BIGINT AS position,
    (payload::JSON -> 'metrics') AS metrics,
    coalesce((payload::JSON ->> 'devices')::VARCHAR[], []) AS devices
FROM log
WHERE kind = 'policy';

-- advice: each episode of replicas that advise each other: who was asked, NULL = nobody, and what came
-- of it beside what the device could expect, and what it did without advice. `weight` is how many
-- episodes with this adviser its next choice is founded on, `version` the first that knows of it.
CREATE VIEW advice AS
SELECT
    agent,
    device,
    payload ->> 'adviser' AS adviser,
    policy AS version,
    (payload ->> 'total_reward')::DOUBLE AS "return",
    (payload ->> 'expected')::DOUBLE AS expected,
    (payload ->> 'unadvised')::DOUBLE AS unadvised,
    "return" - unadvised AS effect,
    (payload ->> 'weight')::DOUBLE AS weight,
    (payload ->> 'seq')::BIGINT AS ended_seq,
    ts,
    seq
FROM log
WHERE kind = 'advice' AND payload ->> 'type' = 'advised';

-- guard: what was decided for a device that shares a policy, and what that was founded on. `control`: it
-- trails its peers (`flock`, their median return), and a network of its own is tried; `own`: that earns
-- more, and acts; `rejoined`: it no longer does; `dropped`: it never did; `muted`: its rewards have
-- nothing to do with its peers' for the like (`relation`, beside `peers` among each other), and no longer
-- train the shared policy; `unmuted`: they have again. `own` and `shared` are means of so many `episodes`.
CREATE VIEW guard AS
SELECT
    agent,
    device,
    payload ->> 'decision' AS decision,
    policy AS version,
    (payload ->> 'own')::DOUBLE AS own,
    (payload ->> 'shared')::DOUBLE AS shared,
    (payload ->> 'flock')::DOUBLE AS flock,
    (payload ->> 'episodes')::BIGINT AS episodes,
    (payload ->> 'relation')::DOUBLE AS relation,
    (payload ->> 'peers')::DOUBLE AS peers,
    (payload ->> 'seq')::BIGINT AS ended_seq,
    ts,
    seq
FROM log
WHERE kind = 'advice' AND payload ->> 'type' = 'guarded';

-- gains: what advice was worth to each pair of devices, over all their episodes: the mean of how much
-- more an advised episode brought than the device's own without advice at that time, and the half of
-- a 90 % interval about it (normal, so of little worth below some ten episodes).
CREATE VIEW gains AS
SELECT
    agent,
    device,
    adviser,
    count(*) AS episodes,
    avg(effect) AS gain,
    1.645 * stddev_samp(effect) / sqrt(count(*)) AS gain_within,
    avg(effect) / nullif(abs(avg(unadvised)), 0) AS gain_ratio,
    min(ts) AS since,
    max(ts) AS until
FROM advice
WHERE adviser IS NOT NULL AND effect IS NOT NULL
GROUP BY agent, device, adviser;

-- guests: networks of agents' namesakes on other hubs, as they were let in: from `since` until
-- `until` (NULL = still) the adviser of this name was this version over there, with this file here.
-- Of an adviser that is asked at each step instead, `device` is `?`, and there is neither.
CREATE VIEW guests AS
WITH taken AS (
    SELECT
        agent,
        seq,
        ts,
        lead(ts) OVER (PARTITION BY agent ORDER BY seq) AS replaced,
        (payload -> 'guests')::JSON[] AS guests
    FROM log
    WHERE kind = 'admin' AND starts_with(payload, '{"type":"guests_taken"')
),
each AS (SELECT agent, seq, ts, replaced, unnest(guests) AS guest FROM taken)
SELECT
    agent,
    guest ->> 'name' AS adviser,
    guest ->> 'hub' AS hub,
    guest ->> 'device' AS device,
    (guest ->> 'version')::BIGINT AS version,
    guest ->> 'sha256' AS sha256,
    min(ts) AS since,
    nullif(max(coalesce(replaced, 'infinity'::TIMESTAMP)), 'infinity'::TIMESTAMP) AS until,
    min(seq) AS seq
FROM each
GROUP BY ALL;

-- operators: what people did: agents declared, keys and claims made, redeemed and revoked, devices added and forgotten,
-- users made and removed. `subject` is the agent, key, device or user it was done to.
CREATE VIEW operators AS
SELECT
    ts,
    payload ->> 'by' AS operator,
    payload ->> 'type' AS act,
    coalesce(
        payload ->> 'device',
        payload -> 'user' ->> 'name',
        payload ->> 'name',
        payload ->> 'id',
        payload -> 'key' ->> 'id',
        payload -> 'claim' ->> 'id',
        agent
    ) AS subject,
    agent,
    device,
    payload,
    seq
FROM log
WHERE kind = 'admin'
  AND NOT starts_with(payload, '{"type":"sealed"')
  AND NOT starts_with(payload, '{"type":"alert_');

-- alerts: what somebody should have seen to, from `raised` until `cleared` (NULL = it is open). Of an
-- agent and a device, of an agent, or of the hub itself (then `agent` is ''); `rule` says which of the
-- hub's rules noticed it, `since` when its cause was first seen, `figures` what it was founded on.
CREATE VIEW alerts AS
WITH told AS (
    SELECT
        payload ->> 'rule' AS rule,
        agent,
        device,
        starts_with(payload, '{"type":"alert_raised"') AS is_raised,
        ts,
        payload,
        seq
    FROM log
    WHERE kind = 'admin' AND starts_with(payload, '{"type":"alert_')
),
followed AS (
    SELECT *, lead(ts) OVER following AS cleared, lead(seq) OVER following AS cleared_seq
    FROM told
    WINDOW following AS (PARTITION BY agent, rule, device ORDER BY seq)
)
SELECT
    rule,
    agent,
    device,
    ts AS raised,
    cleared,
    make_timestamp((payload ->> 'since')::BIGINT) AS since,
    payload ->> 'says' AS says,
    payload ->> 'do' AS "do",
    payload::JSON -> 'figures' AS figures,
    seq,
    cleared_seq
FROM followed
WHERE is_raised;
