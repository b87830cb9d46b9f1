-- What analysts see. Times are UTC. `secret` is in no view.

-- events: everything that happened, one row each, with names for kind and source.
CREATE VIEW events AS
SELECT
    (SELECT value FROM meta WHERE key = 'hub') AS hub,
    seq,
    ts,
    device_ts,
    CASE kind
        WHEN 1 THEN 'hello' WHEN 2 THEN 'observation' WHEN 3 THEN 'action' WHEN 4 THEN 'refused'
        WHEN 5 THEN 'episode' WHEN 6 THEN 'reward' WHEN 7 THEN 'advice' WHEN 8 THEN 'update'
        WHEN 9 THEN 'policy' WHEN 10 THEN 'snapshot' WHEN 11 THEN 'admin'
        ELSE 'kind ' || kind
    END AS kind,
    version,
    agent,
    device,
    session,
    boot,
    step,
    obs,
    action,
    executed,
    reward,
    terminated,
    truncated,
    policy,
    logprob,
    value,
    CASE source
        WHEN 1 THEN 'policy' WHEN 2 THEN 'advice' WHEN 3 THEN 'fallback' WHEN 4 THEN 'clamp'
        WHEN 5 THEN 'override'
        ELSE 'source ' || source
    END AS source,
    reason,
    latency_us,
    payload
FROM log;

-- declared: each agent as it was last declared, deleted ones too; what other views join with.
CREATE VIEW declared AS
WITH made AS (
    SELECT
        agent,
        max(seq) AS seq,
        min(ts) AS created,
        max(ts) AS changed,
        arg_max(payload, seq)::JSON -> 'agent' AS fact
    FROM log
    WHERE kind = 11 AND payload ->> 'type' = 'agent_made'
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
-- or the end of an episode joins nothing.
-- The action is the one executed where the device says so, and then nobody's policy chose it.
CREATE VIEW transitions AS
WITH observation AS (
    SELECT
        *,
        lead(seq) OVER following AS next_seq,
        lead(agent) OVER following AS next_agent,
        lead(boot) OVER following AS next_boot,
        lead(step) OVER following AS next_step,
        lead(obs) OVER following AS next_obs,
        lead(reward) OVER following AS next_reward,
        lead(executed) OVER following AS next_executed,
        lead(first) OVER following AS next_first,
        lead(terminated) OVER following AS next_terminated,
        lead(truncated) OVER following AS next_truncated
    FROM log
    WHERE kind = 2
    WINDOW following AS (PARTITION BY device ORDER BY seq)
),
followed AS (
    SELECT *
    FROM observation
    WHERE next_agent = agent
      AND next_boot = boot
      AND next_step = step + 1
      AND NOT coalesce(next_first, false)
      AND NOT coalesce(terminated, false)
      AND NOT coalesce(truncated, false)
),
-- An action may be logged after the next observation, so it is found by its step: the first
-- answer after the observation, which is the one that was sent.
acted AS (
    SELECT
        followed.*,
        answer.action AS answer_action,
        answer.policy AS answer_policy,
        answer.logprob AS answer_logprob,
        answer.source AS answer_source
    FROM followed
    ASOF LEFT JOIN (SELECT * FROM log WHERE kind = 3 AND action IS NOT NULL) AS answer
      ON answer.device = followed.device
     AND answer.boot = followed.boot
     AND answer.step = followed.step
     AND answer.seq > followed.seq
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
    CASE WHEN NOT overridden THEN acted.answer_logprob END AS logprob,
    CASE
        WHEN overridden THEN 'override'
        WHEN acted.answer_source = 1 THEN 'policy'
        WHEN acted.answer_source = 2 THEN 'advice'
        WHEN acted.answer_source = 3 THEN 'fallback'
        WHEN acted.answer_source = 4 THEN 'clamp'
        WHEN acted.answer_source = 5 THEN 'override'
    END AS source,
    acted.next_seq AS seq
FROM (
    SELECT
        *,
        next_executed IS NOT NULL AND next_executed IS DISTINCT FROM answer_action AS overridden
    FROM acted
) AS acted
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
WHERE kind = 5;

-- devices: each device that was added or ever sent something, and where it was last.
CREATE VIEW devices AS
WITH added AS (
    SELECT
        payload ->> 'device' AS device,
        arg_max(agent, seq) AS agent,
        max(seq) AS seq,
        min(ts) AS added
    FROM log
    WHERE kind = 11 AND payload ->> 'type' = 'device_added'
    GROUP BY ALL
),
heard AS (
    SELECT
        device,
        arg_max(agent, seq) FILTER (kind = 2) AS agent,
        max(session) AS session,
        arg_max(boot, seq) FILTER (kind = 2) AS boot,
        arg_max(step, seq) FILTER (kind = 2) AS step,
        arg_max(payload, seq) FILTER (kind = 1) AS hello,
        min(ts) AS first_seen,
        max(ts) FILTER (kind IN (1, 2)) AS last_seen,
        count(*) FILTER (kind = 2) AS observations,
        count(*) FILTER (kind = 3) AS actions,
        count(*) FILTER (kind = 4) AS refused,
        count(*) FILTER (kind = 5) AS episodes,
        max(seq) AS seq
    FROM log
    WHERE device <> '' AND kind <> 11
    GROUP BY device
)
SELECT
    device,
    coalesce(heard.agent, added.agent) AS agent,
    hello ->> 'protocol' AS protocol,
    hello -> 'hello' ->> 'dt' AS device_type,
    hello -> 'hello' ->> 'fw' AS firmware,
    session,
    boot,
    step,
    coalesce(first_seen, added) AS first_seen,
    last_seen,
    coalesce(observations, 0) AS observations,
    coalesce(actions, 0) AS actions,
    coalesce(refused, 0) AS refused,
    coalesce(episodes, 0) AS episodes,
    greatest(heard.seq, added.seq) AS seq
FROM heard FULL JOIN added USING (device);

-- policies: each version of each agent's policy and what was measured when it was made.
CREATE VIEW policies AS
SELECT
    agent,
    policy AS version,
    seq,
    ts AS created,
    payload ->> 'sha256' AS sha256,
    (payload ->> 'parent')::BIGINT AS parent,
    (payload ->> 'position')::BIGINT AS position,
    (payload::JSON -> 'metrics') AS metrics
FROM log
WHERE kind = 9;

-- advice: what one replica told another.
CREATE VIEW advice AS
SELECT agent, device, session, boot, step, action, policy, logprob, value, reason, ts, seq, payload
FROM log
WHERE kind = 7;

-- operators: what people did: agents declared, keys made and revoked, devices added.
CREATE VIEW operators AS
SELECT
    ts,
    payload ->> 'by' AS operator,
    payload ->> 'type' AS act,
    agent,
    device,
    payload,
    seq
FROM log
WHERE kind = 11;
