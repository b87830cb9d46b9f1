/* What comes before main on a Cortex-M: the table of vectors, and memory as C expects it. */
#include <stdint.h>

extern uint32_t stack_top, data_from, data_begin, data_end, bss_begin, bss_end;
int main(void);
void tick(void);

void reset(void) {
    uint32_t *from = &data_from, *to;
    for (to = &data_begin; to < &data_end;)
        *to++ = *from++;
    for (to = &bss_begin; to < &bss_end;)
        *to++ = 0;
    main();
}

static void stop(void) {
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top, (void *)reset, (void *)stop, (void *)stop, (void *)stop, (void *)stop, (void *)stop, 0,
    0, 0, 0, (void *)stop, (void *)stop, 0, (void *)stop, (void *)tick,
};

/* The compiler may call it for what a loop writes. */
void *memset(void *to, int byte, unsigned count) {
    volatile uint8_t *at = to;
    while (count--)
        *at++ = (uint8_t)byte;
    return to;
}
