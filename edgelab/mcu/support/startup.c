/* Start of a Cortex-M: the vector table, and what has to happen before main. */
#include <stdint.h>

extern uint32_t _sidata[], _sdata[], _edata[], _sbss[], _ebss[], _estack[];
int main(void);

#define COPROCESSOR_ACCESS (*(volatile uint32_t *)0xE000ED88u) /* CPACR */

void _start(void)
{
    const uint32_t *from = _sidata;
    volatile uint32_t *to; /* volatile: the loops stay loops, no memcpy is called */

#if defined(__ARM_FP)
    COPROCESSOR_ACCESS |= 0xFu << 20; /* the FPU may be used */
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    for (to = _sdata; to < _edata;)
        *to++ = *from++;
    for (to = _sbss; to < _ebss;)
        *to++ = 0;
    (void)main();
    for (;;) {
    }
}

/* A fault or an interrupt that nobody handles stops here, where a debugger finds it. */
static void unhandled(void)
{
    for (;;) {
    }
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) const handler vectors[16] = {
    (handler)(uintptr_t)_estack, /* the stack pointer at reset */
    _start,
    unhandled, /* NMI */
    unhandled, /* HardFault */
    unhandled, /* MemManage */
    unhandled, /* BusFault */
    unhandled, /* UsageFault */
    unhandled, /* SecureFault */
    0, 0, 0,
    unhandled, /* SVCall */
    unhandled, /* DebugMonitor */
    0,
    unhandled, /* PendSV */
    unhandled, /* SysTick */
};
