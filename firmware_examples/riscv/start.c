/* What comes before main on a RISC-V: a stack, and memory as C expects it. */
#include <stdint.h>

extern uint32_t data_from, data_begin, data_end, bss_begin, bss_end;
int main(void);

__attribute__((naked, section(".start"))) void start(void) {
    __asm__("la sp, stack_top\n j begin");
}

__attribute__((used)) void begin(void) {
    uint32_t *from = &data_from, *to;
    for (to = &data_begin; to < &data_end;)
        *to++ = *from++;
    for (to = &bss_begin; to < &bss_end;)
        *to++ = 0;
    main();
}

/* The compiler may call it for what a loop writes. */
void *memset(void *to, int byte, unsigned count) {
    volatile uint8_t *at = to;
    while (count--)
        *at++ = (uint8_t)byte;
    return to;
}
