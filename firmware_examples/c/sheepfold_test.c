/* Holds sheepfold.h to what stands in its head, byte by byte, without a hub.

       cc -std=c99 -fsanitize=address,undefined -o test sheepfold_test.c && ./test

   Once more with -DSHEEP_JSON. Says what failed, and exits 1 then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sheepfold.h"

static uint8_t said[4096];
static unsigned said_count;
static int failed;
static sheep hub;
static float seen[2] = {21.5f, 40};
static uint16_t now;

static void put(void *link, uint8_t byte) {
    (void)link;
    if (said_count < sizeof said)
        said[said_count++] = byte;
}

#define CHECK(what) ((what) ? (void)0 : (void)(failed = 1, printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what)))

/* What was said since the last look is this. */
#define SAID(text) (heard_is(text, sizeof(text) - 1) ? (void)0 : (void)(failed = 1, printf("%s:%d: something else was said\n", __FILE__, __LINE__)))

static int heard_is(const char *text, unsigned count) {
    int same = count == said_count && !memcmp(said, text, count);
    unsigned i;
    if (!same) {
        for (i = 0; i < said_count; i++)
            printf(said[i] > 31 && said[i] < 127 ? "%c" : "\\x%02x", said[i]);
        puts("");
    }
    said_count = 0;
    return same;
}

static int hear(const char *text, unsigned count) { /* the last event */
    int event = SHEEP_NONE, one;
    unsigned i;
    for (i = 0; i < count; i++)
        if ((one = sheep_run(&hub, now, (uint8_t)text[i])) != SHEEP_NONE)
            event = one;
    return event;
}
#define HEAR(text) hear(text, sizeof(text) - 1)

static int pass(unsigned ms) { /* the last event while time passes */
    int event = SHEEP_NONE, one;
    for (; ms; ms--) {
        now++;
        if ((one = sheep_run(&hub, now, -1)) != SHEEP_NONE)
            event = one;
    }
    return event;
}

#define CONNACK "\x20\2\0\0"
#define SUBACK "\x90\4\0\1\0\0"
#define CONNECT "\x10\x2c\0\4MQTT\4\xe6\0\36\0\1d\0\x0e" "rl/v1/d/status\0\7offline\0\1d\0\1k"
#ifdef SHEEP_JSON
#define SUBSCRIBE "\x82\x1e\0\1\0\x0brl/v1/d/act\0\0\x0brl/v1/d/err\0"
#define OBS_1 "\x30\x22\0\x0brl/v1/d/obs{\"s\":1,\"o\":[21.5,40]}"
#define OBS_3 "\x30\x22\0\x0brl/v1/d/obs{\"s\":3,\"o\":[21.5,40]}"
#define OBS_2_FULL "\x30\x31\0\x0brl/v1/d/obs{\"s\":2,\"o\":[21.5,40],\"r\":-0.5,\"d\":1}"
#define ACT_1 "\x30\x1a\0\x0brl/v1/d/act{\"s\":1,\"a\":1}"
#else
#define SUBSCRIBE "\x82\x22\0\1\0\x0frl/v1/d/act/f32\0\0\x0brl/v1/d/err\0"
#define OBS_1 "\x30\x21\0\x0frl/v1/d/obs/f32\x10\2\1\0\0\0\0\0\0\0\xac\x41\0\0\x20\x42"
#define OBS_3 "\x30\x21\0\x0frl/v1/d/obs/f32\x10\2\3\0\0\0\0\0\0\0\xac\x41\0\0\x20\x42"
#define OBS_2_FULL "\x30\x21\0\x0frl/v1/d/obs/f32\x15\2\2\0\0\0\0\xbf\0\0\xac\x41\0\0\x20\x42"
#define ACT_1 "\x30\x17\0\x0frl/v1/d/act/f32\x10\1\1\0\1\0"
#endif
#define ONLINE "\x31\x16\0\x0erl/v1/d/statusonline"
#define HELLO "\x30\x16\0\rrl/v1/d/hello{\"b\":7}"

static void begin(void) { /* a new device, that has observed once */
    memset(&hub, 0, sizeof hub);
    hub.device = "d", hub.key = "k", hub.put = put, hub.boot = "7";
    hub.values = seen, hub.count = 2;
    now = 65000; /* soon it wraps */
    said_count = 0;
    sheep_run(&hub, now, -1);
    sheep_observe(&hub, now, 0);
}

static void connect(void) {
    begin();
    HEAR(CONNACK SUBACK);
    said_count = 0;
}

static void it_connects_subscribes_and_observes(void) {
    begin();
    SAID(CONNECT);
    CHECK(HEAR(CONNACK) == SHEEP_NONE);
    SAID(SUBSCRIBE ONLINE HELLO OBS_1);
    CHECK(HEAR(SUBACK) == SHEEP_NONE);
    CHECK(HEAR(ACT_1) == SHEEP_ACTION);
    CHECK(sheep_choice(&hub) == 1);
    hub.reward = -0.5f;
    sheep_observe(&hub, now, SHEEP_REWARD | SHEEP_DONE);
    SAID(OBS_2_FULL);
}

static void an_answer_before_the_suback_counts(void) {
    begin();
    CHECK(HEAR(CONNACK ACT_1) == SHEEP_ACTION);
}

static void it_asks_again_until_it_gives_up_and_leaves_a_number_out(void) {
    connect();
    CHECK(pass(SHEEP_REPEAT_MS - 1) == SHEEP_NONE);
    SAID("");
    CHECK(pass(1) == SHEEP_NONE);
    SAID(OBS_1);
    CHECK(pass(SHEEP_DEADLINE_MS - SHEEP_REPEAT_MS) == SHEEP_FALLBACK);
    said_count = 0;
    CHECK(HEAR(ACT_1) == SHEEP_NONE); /* too late */
    CHECK(pass(SHEEP_REPEAT_MS * 3) == SHEEP_NONE);
    SAID("");
    sheep_observe(&hub, now, 0);
    SAID(OBS_3);
}

static void an_answer_to_another_step_or_topic_is_none(void) {
    connect();
#ifdef SHEEP_JSON
    CHECK(HEAR("\x30\x1a\0\x0brl/v1/d/act{\"s\":2,\"a\":1}") == SHEEP_NONE);
    CHECK(HEAR("\x30\x1a\0\x0brl/v1/e/act{\"s\":1,\"a\":1}") == SHEEP_NONE);
    CHECK(HEAR("\x30\x14\0\x0brl/v1/d/act{\"s\":1}") == SHEEP_NONE);
#else
    CHECK(HEAR("\x30\x17\0\x0frl/v1/d/act/f32\x10\1\2\0\1\0") == SHEEP_NONE);
    CHECK(HEAR("\x30\x17\0\x0frl/v1/e/act/f32\x10\1\1\0\1\0") == SHEEP_NONE);
    CHECK(HEAR("\x30\x17\0\x0frl/v1/d/act/f32\x20\1\1\0\1\0") == SHEEP_NONE); /* version 2 */
    CHECK(HEAR("\x30\x13\0\x0frl/v1/d/act/f32\x10\1") == SHEEP_NONE);
    CHECK(HEAR("\x30\x15\0\x0frl/v1/d/act/f32\x10\1\1\0") == SHEEP_REFUSED); /* its action is missing */
    CHECK(!*sheep_text(&hub));
#endif
    CHECK(HEAR("\x30\2\0\0" "\xd0\0" "\x30\0") == SHEEP_NONE);
    CHECK(HEAR(ACT_1) == SHEEP_ACTION);
    CHECK(HEAR(ACT_1) == SHEEP_NONE); /* once is enough */
}

static void what_is_too_long_is_read_to_its_end(void) {
    unsigned i, length;
    for (length = 100; length < 16384; length += 4070) { /* one and two bytes of length */
        connect();
        HEAR("\x30");
        if (length > 127)
            sheep_run(&hub, now, (int)(length & 127) | 128);
        sheep_run(&hub, now, (int)(length > 127 ? length >> 7 : length));
        for (i = 0; i < length; i++)
            CHECK(sheep_run(&hub, now, (uint8_t)(i * 7)) == SHEEP_NONE);
        CHECK(HEAR(ACT_1) == SHEEP_ACTION);
    }
    connect();
    CHECK(HEAR("\x30\x80\x80\1") == SHEEP_LOST); /* nobody sends a small device 16 KiB */
}

static void the_end_of_an_episode_has_no_action(void) {
    connect();
#ifdef SHEEP_JSON
    CHECK(HEAR("\x30\x1d\0\x0brl/v1/d/act{\"s\":1,\"a\":null}") == SHEEP_OVER);
#else
    CHECK(HEAR("\x30\x15\0\x0frl/v1/d/act/f32\x1f\0\1\0") == SHEEP_OVER);
#endif
}

static void a_box_has_values(void) {
    connect();
#ifdef SHEEP_JSON
    CHECK(HEAR("\x30\x37\0\x0brl/v1/d/act{\"pv\":3,\"s\":1,\"a\":[[0.25, -15e-1],[1E+2]]}") == SHEEP_ACTION);
    CHECK(sheep_value(&hub, 2) == 100);
#else
    CHECK(HEAR("\x30\x1d\0\x0frl/v1/d/act/f32\x11\2\1\0\0\0\x80\x3e\0\0\xc0\xbf") == SHEEP_ACTION);
#endif
    CHECK(sheep_value(&hub, 0) == 0.25f);
    CHECK(sheep_value(&hub, 1) == -1.5f);
    CHECK(sheep_value(&hub, 200) == 0);
}

static void a_refusal_says_why(void) {
    begin();
    CHECK(HEAR("\x20\2\0\4") == SHEEP_REFUSED); /* the key */
    CHECK(!*sheep_text(&hub));
    CHECK(pass(SHEEP_RETRY_MS) == SHEEP_LOST);
    connect();
    CHECK(HEAR("\x30\x14\0\x0brl/v1/d/err{\"e\":1}") == SHEEP_REFUSED);
    CHECK(!strcmp(sheep_text(&hub), "{\"e\":1}"));
    CHECK(!sheep_passing(&hub));
    CHECK(HEAR("\x30\x19\0\x0brl/v1/d/err{\"e\":\"busy\"}") == SHEEP_REFUSED && sheep_passing(&hub));
    CHECK(HEAR("\x30\x19\0\x0brl/v1/d/err{\"e\":\"rate\"}") == SHEEP_REFUSED && sheep_passing(&hub));
    CHECK(HEAR("\x30\x1a\0\x0brl/v1/d/err{\"e\":\"range\"}") == SHEEP_REFUSED && !sheep_passing(&hub));
    CHECK(HEAR(ACT_1) == SHEEP_ACTION);
}

static void it_calls_until_somebody_is_there(void) {
    begin();
    said_count = 0;
    CHECK(pass(SHEEP_RETRY_MS) == SHEEP_LOST);
    SAID("");
    pass(1);
    SAID(CONNECT);
    HEAR("\xff\xff"); /* half a packet, then the link comes back */
    pass(SHEEP_RETRY_MS + 1);
    said_count = 0;
    HEAR(CONNACK);
    CHECK(hub.state == SHEEP_CONNECTED);
}

static void it_pings_and_notices_silence(void) {
    unsigned pings;
    connect();
    HEAR(ACT_1);
    pass(SHEEP_PING_MS);
    SAID("\xc0\0");
    HEAR("\xd0\0");
    for (pings = 1; pings < SHEEP_UNHEARD_MAX; pings++)
        CHECK(pass(SHEEP_PING_MS) == SHEEP_NONE);
    CHECK(pass(SHEEP_PING_MS + 1) == SHEEP_LOST);
}

static void a_new_link_takes_the_observation_along(void) {
    connect();
    sheep_closed(&hub); /* taken over, say */
    CHECK(pass(SHEEP_RETRY_MS - 1) == SHEEP_NONE);
    CHECK(pass(1) == SHEEP_LOST);
    pass(1);
    SAID(CONNECT);
    HEAR(CONNACK);
    SAID(SUBSCRIBE ONLINE HELLO OBS_1);
}

static void the_step_wraps(void) {
    connect();
    hub.step = 65535;
    hub.asking = SHEEP_ANSWERED;
    sheep_observe(&hub, now, 0);
    CHECK(hub.step == 0);
}

static void nonsense_breaks_nothing(void) {
    static const char good[] = CONNACK SUBACK ACT_1 "\x30\x14\0\x0brl/v1/d/err{\"e\":1}";
    volatile float sum;
    unsigned i, at;
    srand(1);
    for (i = 0; i < 20000; i++) {
        begin();
        for (at = 0; at < 60; at++) {
            int event = sheep_run(&hub, now += (uint16_t)(rand() % 40),
                                  rand() % 8 ? good[at % (sizeof good - 1)] & 255 : rand() & 255);
            if (event == SHEEP_ACTION) /* nothing is read beyond its end, say the sanitizers */
                sum = sheep_value(&hub, (uint8_t)rand()) + (float)sheep_choice(&hub);
            if (event == SHEEP_REFUSED)
                CHECK(strlen(sheep_text(&hub)) <= SHEEP_BUFFER);
            said_count = 0;
        }
    }
    (void)sum;
}

#ifdef SHEEP_JSON
static void numbers_are_written_as_they_are(void) {
    static const struct { float number; const char *text; } table[] = {
        {0, "0"}, {1, "1"}, {-1, "-1"}, {0.5f, "0.5"}, {-12.3457f, "-12.3457"}, {0.000001f, "0.000001"},
        {0.0000001f, "0"}, {0.9999999f, "1"}, {1000000, "1000000"}, {3e9f, "300000000e1"}, {1e-30f, "0"},
        {1.0f / 0.0000000000000000000000000000000000000000001f, "null"},
    };
    unsigned i;
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        hub.mode = SHEEP_PUTTING;
        said_count = 0;
        sheep_decimal(&hub, table[i].number);
        CHECK(heard_is(table[i].text, (unsigned)strlen(table[i].text)));
    }
}
#endif

int main(void) {
    it_connects_subscribes_and_observes();
    an_answer_before_the_suback_counts();
    it_asks_again_until_it_gives_up_and_leaves_a_number_out();
    an_answer_to_another_step_or_topic_is_none();
    what_is_too_long_is_read_to_its_end();
    the_end_of_an_episode_has_no_action();
    a_box_has_values();
    a_refusal_says_why();
    it_calls_until_somebody_is_there();
    it_pings_and_notices_silence();
    a_new_link_takes_the_observation_along();
    the_step_wraps();
    nonsense_breaks_nothing();
#ifdef SHEEP_JSON
    numbers_are_written_as_they_are();
#endif
    puts(failed ? "failed" : "ok");
    return failed;
}
