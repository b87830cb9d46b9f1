-- upgrade_2: a file of schema 1 becomes one of schema 2. Its views are the analyst's now.
CREATE TABLE carried (
    device          VARCHAR NOT NULL,
    opened          BIGINT  NOT NULL,  -- seq of the episode's first observation
    actions         BIGINT  NOT NULL,
    reward_sum      DOUBLE  NOT NULL,
    rewards_missing BIGINT  NOT NULL
);
INSERT INTO meta VALUES ('schema', '2');
