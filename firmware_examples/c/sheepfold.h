/* A device's half of Sheepfold over MQTT 3.1.1, for any chip with a link to the hub's MQTT port.

   One header of C99, also good for C++; no malloc, no libc; one byte in, one byte out.

       static void put(void *link, uint8_t byte) { uart_send(byte); }
       static float seen[1] = {17};
       static sheep hub;                                              // all zero

       hub.device = "boiler-1", hub.key = KEY, hub.put = put, hub.boot = boots_so_far();
       hub.values = seen, hub.count = 1;
       sheep_observe(&hub, millis(), 0);
       for (;;)
           switch (sheep_run(&hub, millis(), uart_receive())) {       // -1: no byte waits
           case SHEEP_ACTION:   heat(sheep_choice(&hub)); next(); break;
           case SHEEP_FALLBACK: heat(0);                  next(); break;
           }

   where next() waits for the device's own time, writes what it sees then into `seen`, the reward into
   hub.reward, and calls sheep_observe(&hub, millis(), SHEEP_REWARD).

   Rule 1: an observation is repeated, the same to the byte, until it is answered or given up.
   Rule 2: after one that was given up a step number is left out: what the device did meanwhile on
           its own is a gap in the hub's log, and no transition is learnt from it.
   Rule 3: a packet that does not fit is read to its end, up to 16 KiB: of more, the link is lost.
           Nothing the link brings writes beyond `in`.
*/
#ifndef SHEEPFOLD_H
#define SHEEPFOLD_H

#include <stdint.h>

/* --- settings: define them before the #include; times in ms, below 65,536 --------------------- */

#ifndef SHEEP_BASE
#define SHEEP_BASE "rl/v1/"     /* what the hub's topics begin with */
#endif
#ifndef SHEEP_BUFFER            /* longest packet that is read: 16 + device id + the action's payload */
#ifdef SHEEP_JSON               /* speak JSON, to read along; without it f32, a third of the bytes */
#define SHEEP_BUFFER 128
#else
#define SHEEP_BUFFER 64
#endif
#endif
#ifndef SHEEP_REPEAT_MS
#define SHEEP_REPEAT_MS 1000    /* without an answer the observation is sent again */
#endif
#ifndef SHEEP_DEADLINE_MS
#define SHEEP_DEADLINE_MS 5000  /* without an answer the device is on its own; 0 = it waits for ever */
#endif
#ifndef SHEEP_RETRY_MS
#define SHEEP_RETRY_MS 3000     /* from one CONNECT to the next */
#endif
#ifndef SHEEP_PING_MS
#define SHEEP_PING_MS 15000     /* of silence, then a PINGREQ: half of the keep-alive, 30 s */
#endif
#ifndef SHEEP_UNHEARD_MAX
#define SHEEP_UNHEARD_MAX 10    /* packets without a word from the hub, then the link is lost */
#endif

enum sheep_event {
    SHEEP_NONE,
    SHEEP_ACTION,   /* do it: sheep_choice, or sheep_value of a box; then observe */
    SHEEP_OVER,     /* the episode is over: begin anew; the next observation opens another one */
    SHEEP_FALLBACK, /* no answer: do what is safe; then observe, or the hub waits for you */
    SHEEP_REFUSED,  /* sheep_text says why; empty: the key is not good, or the action does not fit into
                       SHEEP_BUFFER. The observation is repeated all the same, until it is given up:
                       sheep_passing says that this may help */
    SHEEP_LOST      /* no word from the hub. Open your link anew where you have one to open:
                       CONNECT goes out on it with the next sheep_run */
};

enum sheep_flag { SHEEP_DONE = 1, SHEEP_TRUNCATED = 2, SHEEP_REWARD = 4 };

typedef struct sheep {
    /* To be set at the start. */
    const char *device, *key;
    void (*put)(void *link, uint8_t byte); /* a byte for the hub; may be kept until sheep_run is back */
    void *link;                            /* for `put`, whatever it needs */
    const char *boot;                      /* digits of a number not used before: counted, or random */
    const float *values;                   /* what is observed; from sheep_observe to its answer it stays */
    /* The observation's head, as f32 has it on the wire. */
    uint8_t flags;
    uint8_t count;                         /* of values, to be set at the start */
    uint16_t step;
    float reward;                          /* to be set before sheep_observe, of the action before */
    uint8_t asking;
    /* The connection; times are of the device's clock, in ms. */
    uint8_t state, unheard;
    uint16_t now, said, asked;
    /* What is being written: counted, put, or compared with `in`. */
    uint8_t mode;
    uint16_t at;
    /* What is being read. */
    uint8_t part, head, have;
    uint16_t left;
    uint8_t in[SHEEP_BUFFER + 2]; /* of a packet without its head; then a zero */
} sheep;

static uint8_t sheep_run(sheep *s, uint16_t now, int byte);
static void sheep_observe(sheep *s, uint16_t now, uint8_t flags);
static inline void sheep_closed(sheep *s); /* your link has closed: SHEEP_LOST comes after a while */
static inline int32_t sheep_choice(const sheep *s);
static inline float sheep_value(const sheep *s, uint8_t index); /* 0 behind the last */
static inline const char *sheep_text(const sheep *s);
static inline uint8_t sheep_passing(const sheep *s); /* the hub is busy, or the device too fast for it */

/* --- words ------------------------------------------------------------------------------------ */

#if SHEEP_BUFFER > 255
#error "SHEEP_BUFFER is 255 at most"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "f32 is little-endian, and this chip is not"
#endif

#ifdef __AVR__ /* constants would take RAM */
#include <avr/pgmspace.h>
#define SHEEP_FLASH PROGMEM
#define sheep_flash(at) ((uint8_t)pgm_read_byte(at))
#define SHEEP_ONCE static __attribute__((noinline, noclone, used)) /* copies would take flash */
#else
#define SHEEP_FLASH
#define sheep_flash(at) ((uint8_t)*(at))
#define SHEEP_ONCE static
#endif

/* A packet is a script: its first byte, then bytes as they are, and these for what the device knows. */
#define SHEEP_TOPIC "\xf8"  /* as a string; the length of what follows the device id, and that */
#define SHEEP_DEVICE "\xf9" /* as a string: MQTT 3.1.1, 1.5.3 */
#define SHEEP_KEY "\xfa"    /* as a string */
#define SHEEP_BOOT "\xfb"
#define SHEEP_STEP "\xfc"   /* the observation's head; in JSON all of it */
#define SHEEP_VALUES "\xfd"
#define SHEEP_END "\xff"
#define sheep_op(op) ((uint8_t)*(op))
#ifdef SHEEP_JSON
#define SHEEP_OBSERVATION SHEEP_STEP
#define SHEEP_ENCODED(leaf) SHEEP_TOPIC "\4" leaf
#else
#define SHEEP_OBSERVATION SHEEP_STEP SHEEP_VALUES
#define SHEEP_ENCODED(leaf) SHEEP_TOPIC "\10" leaf "/f32"
#endif

#define SHEEP_SCRIPT(name, script) static const char sheep_##name[] SHEEP_FLASH = script SHEEP_END
SHEEP_SCRIPT(base, SHEEP_BASE);
SHEEP_SCRIPT(connect, "\x10" "\0\4MQTT\4" "\xe6" /* clean session, name, password, a retained will */
             "\0\36" SHEEP_DEVICE SHEEP_TOPIC "\7/status" "\0\7offline" SHEEP_DEVICE SHEEP_KEY);
SHEEP_SCRIPT(subscribe, "\x82" "\0\1" /* at QoS 0: a lost action is asked for again */
             SHEEP_ENCODED("/act") "\0" SHEEP_TOPIC "\4/err" "\0");
SHEEP_SCRIPT(online, "\x31" SHEEP_TOPIC "\7/status" "online");
SHEEP_SCRIPT(err, "\x30" SHEEP_TOPIC "\4/err");
SHEEP_SCRIPT(act, "\x30" SHEEP_ENCODED("/act"));
SHEEP_SCRIPT(hello, "\x30" SHEEP_TOPIC "\6/hello" "{\"b\":" SHEEP_BOOT "}");
SHEEP_SCRIPT(observation, "\x30" SHEEP_ENCODED("/obs") SHEEP_OBSERVATION);
SHEEP_SCRIPT(ping, "\xc0");
#ifdef SHEEP_JSON
SHEEP_SCRIPT(json_step, "{\"s\":");
SHEEP_SCRIPT(json_values, ",\"o\":[");
SHEEP_SCRIPT(json_reward, "],\"r\":");
SHEEP_SCRIPT(json_done, ",\"d\":1");
SHEEP_SCRIPT(json_truncated, ",\"tr\":1");
SHEEP_SCRIPT(json_null, "null");
#endif

/* --- writing: each packet is said twice, to be counted and to be put ---------------------------- */

enum { SHEEP_COUNTING, SHEEP_PUTTING, SHEEP_COMPARING, SHEEP_OTHER };

SHEEP_ONCE void sheep_out(sheep *s, uint8_t byte) {
    uint8_t at = (uint8_t)s->at;
    s->at++;
    if (s->mode == SHEEP_PUTTING)
        s->put(s->link, byte);
    else if (s->mode == SHEEP_COMPARING && (at >= s->have || s->in[at] != byte))
        s->mode = SHEEP_OTHER;
}

SHEEP_ONCE void sheep_say(sheep *s, const char *script);

#ifdef SHEEP_JSON
static void sheep_unsigned(sheep *s, uint32_t number) {
    if (number > 9)
        sheep_unsigned(s, number / 10);
    sheep_out(s, (uint8_t)('0' + number % 10));
}

/* To six decimals; what is no number is null, which the hub refuses by name. */
static void sheep_decimal(sheep *s, float number) {
    uint32_t whole, rest, unit;
    uint8_t tens = 0;
    if (!(number - number == 0)) {
        sheep_say(s, sheep_json_null);
        return;
    }
    if (number < 0) {
        sheep_out(s, '-');
        number = -number;
    }
    for (; number >= 1e9f; tens++)
        number /= 10;
    whole = (uint32_t)number;
    rest = (uint32_t)((number - (float)whole) * 1e6f + 0.5f);
    if (rest >= 1000000) {
        rest = 0;
        whole++;
    }
    sheep_unsigned(s, whole);
    if (rest)
        sheep_out(s, '.');
    for (unit = 100000; rest; unit /= 10) {
        sheep_out(s, (uint8_t)('0' + rest / unit));
        rest %= unit;
    }
    if (tens) {
        sheep_out(s, 'e');
        sheep_unsigned(s, tens);
    }
}

static void sheep_json(sheep *s) {
    uint8_t i;
    sheep_say(s, sheep_json_step);
    sheep_unsigned(s, s->step);
    sheep_say(s, sheep_json_values);
    for (i = 0; i < s->count; i++) {
        if (i)
            sheep_out(s, ',');
        sheep_decimal(s, s->values[i]);
    }
    if (s->flags & SHEEP_REWARD) {
        sheep_say(s, sheep_json_reward);
        sheep_decimal(s, s->reward);
    } else
        sheep_out(s, ']');
    if (s->flags & SHEEP_DONE)
        sheep_say(s, sheep_json_done);
    if (s->flags & SHEEP_TRUNCATED)
        sheep_say(s, sheep_json_truncated);
    sheep_out(s, '}');
}
#endif

/* What an op means, but for the length before a string. */
static const char *sheep_known(const sheep *s, uint8_t op, uint16_t *length) {
    const char *text = op == sheep_op(SHEEP_KEY) ? s->key : op == sheep_op(SHEEP_BOOT) ? s->boot : s->device;
#ifndef SHEEP_JSON /* docs/device-maker.md, "Small devices" */
    if (op == sheep_op(SHEEP_STEP)) {
        *length = 8;
        return (const char *)&s->flags;
    }
    if (op == sheep_op(SHEEP_VALUES)) {
        *length = (uint16_t)(s->count * 4);
        return (const char *)s->values;
    }
#endif
    for (*length = 0; text[*length];)
        ++*length;
    return text;
}

SHEEP_ONCE void sheep_say(sheep *s, const char *script) {
    uint8_t op, more;
    uint16_t length;
    const char *text;
    while ((op = sheep_flash(script++)) != sheep_op(SHEEP_END)) {
        if (op < sheep_op(SHEEP_TOPIC)) {
            sheep_out(s, op);
            continue;
        }
#ifdef SHEEP_JSON
        if (op == sheep_op(SHEEP_STEP)) {
            sheep_json(s);
            continue;
        }
#endif
        text = sheep_known(s, op, &length);
        if (op <= sheep_op(SHEEP_KEY)) {
            more = op == sheep_op(SHEEP_TOPIC) ? (uint8_t)(sizeof SHEEP_BASE - 1 + sheep_flash(script++)) : 0;
            sheep_out(s, 0);
            sheep_out(s, (uint8_t)(length + more));
            if (more)
                sheep_say(s, sheep_base);
        }
        while (length--)
            sheep_out(s, (uint8_t)*text++);
    }
}

SHEEP_ONCE void sheep_send(sheep *s, const char *script) {
    uint16_t length;
    s->mode = SHEEP_COUNTING;
    s->at = 0;
    sheep_say(s, script + 1);
    length = s->at;
    s->mode = SHEEP_PUTTING;
    sheep_out(s, sheep_flash(script));
    if (length > 127) { /* MQTT 3.1.1, 2.2.3 */
        sheep_out(s, (uint8_t)(length | 128));
        length = (uint8_t)((uint16_t)(length << 1) >> 8);
    }
    sheep_out(s, (uint8_t)length);
    sheep_say(s, script + 1);
    s->said = s->now;
    s->unheard++;
}

/* --- reading ------------------------------------------------------------------------------------ */

enum { SHEEP_OFFLINE, SHEEP_WAITING, SHEEP_CONNECTED };
enum { SHEEP_HEAD, SHEEP_BODY, SHEEP_LENGTH };
enum { SHEEP_ANSWERED, SHEEP_ASKING, SHEEP_GIVEN_UP };

/* Whether the packet in `in` is a PUBLISH to this topic; `at` is then where its payload begins. */
SHEEP_ONCE uint8_t sheep_is(sheep *s, const char *script) {
    s->mode = SHEEP_COMPARING;
    s->at = 0;
    sheep_say(s, script + 1);
    return s->mode == SHEEP_COMPARING;
}

static uint8_t sheep_unfit(sheep *s) { /* the text is then empty: a zero ends what was read */
    s->at = s->have;
    return SHEEP_REFUSED;
}

#ifdef SHEEP_JSON
static const char *sheep_field(const char *text, char name) {
    for (; *text; text++)
        if (text[0] == '"' && text[1] == name && text[2] == '"' && text[3] == ':')
            return text + 4;
    return 0;
}

static float sheep_number(const char **at) {
    const char *text = *at;
    float number = 0, unit = 1;
    uint8_t minus = *text == '-', smaller;
    int16_t tens = 0;
    if (minus)
        text++;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (float)(*text - '0');
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++)
            number += (float)(*text - '0') * (unit /= 10);
    if (*text == 'e' || *text == 'E') {
        smaller = *++text == '-';
        if (*text == '-' || *text == '+')
            text++;
        for (; *text >= '0' && *text <= '9' && tens < 99; text++)
            tens = (int16_t)(tens * 10 + (*text - '0'));
        for (; tens; tens--)
            number = smaller ? number / 10 : number * 10;
    }
    *at = text;
    return minus ? -number : number;
}

static uint8_t sheep_answer(sheep *s) {
    const char *text = (const char *)s->in + s->at, *step = sheep_field(text, 's');
    const char *action = sheep_field(text, 'a');
    if (s->in[s->have - 1] != '}')
        return sheep_unfit(s);
    if (!step || !action || sheep_number(&step) != (float)s->step)
        return SHEEP_NONE;
    s->asking = SHEEP_ANSWERED;
    s->at = (uint16_t)(action - (const char *)s->in);
    return *action == 'n' ? SHEEP_OVER : SHEEP_ACTION;
}

static inline float sheep_value(const sheep *s, uint8_t index) {
    const char *text = (const char *)s->in + s->at;
    float number;
    do {
        while (*text == '[' || *text == ']' || *text == ',' || *text == ' ')
            text++;
        number = sheep_number(&text);
    } while (index--);
    return number;
}

static inline int32_t sheep_choice(const sheep *s) {
    float number = sheep_value(s, 0);
    return number > -2e9f && number < 2e9f ? (int32_t)number : 0;
}
#else
static uint8_t sheep_answer(sheep *s) { /* docs/device-maker.md, "Small devices" */
    const uint8_t *act = s->in + s->at;
    uint8_t kind = act[0] ^ 1 << 4, have = (uint8_t)(s->have - s->at);
    if (have < 4 || kind > 15 || (uint16_t)(act[2] | act[3] << 8) != s->step)
        return SHEEP_NONE;
    have = (uint8_t)(have - 4) / 2;
    if (kind)
        have /= 2;
    if (have < act[1])
        return sheep_unfit(s);
    s->asking = SHEEP_ANSWERED;
    s->at += 4;
    return kind == 15 ? SHEEP_OVER : SHEEP_ACTION;
}

static inline float sheep_value(const sheep *s, uint8_t index) {
    float number = 0;
    uint8_t i;
    for (i = 0; i < 4 && s->at + index * 4 + 4 <= s->have; i++)
        ((uint8_t *)&number)[i] = s->in[s->at + index * 4 + i];
    return number;
}

static inline int32_t sheep_choice(const sheep *s) {
    return (uint16_t)(s->in[s->at] | s->in[s->at + 1] << 8);
}
#endif

static inline const char *sheep_text(const sheep *s) {
    return (const char *)s->in + s->at;
}

static inline uint8_t sheep_passing(const sheep *s) { /* {"e":"busy" or {"e":"rate", but not "range" */
    const char *text = sheep_text(s);
    return *text && (text[6] == 'b' || (text[6] == 'r' && text[8] == 't'));
}

static uint8_t sheep_connack(sheep *s) {
    if (s->in[1]) /* MQTT 3.1.1, 3.2.2.3: 4 and 5 are a key that is not good */
        return sheep_unfit(s);
    s->state = SHEEP_CONNECTED;
    sheep_send(s, sheep_subscribe);
    sheep_send(s, sheep_online);
    sheep_send(s, sheep_hello);
    if (s->asking == SHEEP_ASKING)
        sheep_send(s, sheep_observation);
    return SHEEP_NONE;
}

/* What a whole packet means, as far as it fitted. */
SHEEP_ONCE uint8_t sheep_take(sheep *s) {
    s->unheard = 0;
    s->in[s->have] = 0;
    if (s->head == 0x20 && s->state == SHEEP_WAITING)
        return sheep_connack(s);
    if (sheep_is(s, sheep_err))
        return SHEEP_REFUSED;
    if (s->asking != SHEEP_ASKING || !sheep_is(s, sheep_act))
        return SHEEP_NONE;
    return sheep_answer(s);
}

/* Whether this byte ends a packet. */
SHEEP_ONCE uint8_t sheep_read(sheep *s, uint8_t byte) {
    uint16_t left = s->left;
    if (s->part == SHEEP_HEAD) {
        s->head = byte;
        s->have = 0;
        s->part = SHEEP_LENGTH;
        return 0;
    }
    if (s->part == SHEEP_BODY) {
        if (s->have < SHEEP_BUFFER)
            s->in[s->have++] = byte;
        left--;
    } else { /* MQTT 3.1.1, 2.2.3: seven bits a byte, the low ones first */
        if (s->part == SHEEP_LENGTH)
            left = byte & 127;
        else if (s->part == SHEEP_LENGTH + 1)
            left |= (uint16_t)(byte << 7);
        else
            s->unheard = SHEEP_UNHEARD_MAX;
        s->part++;
        if (!(byte & 128))
            s->part = SHEEP_BODY;
    }
    s->left = left;
    if (left || s->part != SHEEP_BODY)
        return 0;
    s->part = SHEEP_HEAD;
    return 1;
}

/* --- what a device calls -------------------------------------------------------------------------- */

SHEEP_ONCE uint8_t sheep_run(sheep *s, uint16_t now, int byte) {
    uint8_t event, asking;
    uint16_t idle;
    s->now = now;
    if (byte >= 0 && sheep_read(s, (uint8_t)byte) && (event = sheep_take(s)) != SHEEP_NONE)
        return event;
    asking = s->asking == SHEEP_ASKING;
#if SHEEP_DEADLINE_MS
    if (asking && (uint16_t)(now - s->asked) >= SHEEP_DEADLINE_MS) {
        s->asking = SHEEP_GIVEN_UP;
        return SHEEP_FALLBACK;
    }
#endif
    if (s->state == SHEEP_OFFLINE) {
        s->part = SHEEP_HEAD; /* what the link before left unfinished */
        s->state = SHEEP_WAITING;
        sheep_send(s, sheep_connect);
    }
    idle = (uint16_t)(now - s->said);
    if (s->state == SHEEP_WAITING ? idle >= SHEEP_RETRY_MS : s->unheard >= SHEEP_UNHEARD_MAX) {
        s->state = SHEEP_OFFLINE;
        return SHEEP_LOST;
    }
    if (s->state == SHEEP_CONNECTED && idle >= (asking ? SHEEP_REPEAT_MS : SHEEP_PING_MS))
        sheep_send(s, asking ? sheep_observation : sheep_ping);
    return SHEEP_NONE;
}

SHEEP_ONCE void sheep_observe(sheep *s, uint16_t now, uint8_t flags) {
    s->now = now;
    s->step++;
    if (s->asking != SHEEP_ANSWERED)
        s->step++;
    s->flags = (uint8_t)(1 << 4 | flags); /* f32's version */
    s->asking = SHEEP_ASKING;
    s->asked = now;
    if (s->state == SHEEP_CONNECTED)
        sheep_send(s, sheep_observation);
}

static inline void sheep_closed(sheep *s) {
    s->state = SHEEP_WAITING;
    s->said = s->now;
    s->part = SHEEP_HEAD;
}

#endif
