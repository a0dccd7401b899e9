/* What a compiler expects of a C library that is not there: memory functions, and integer arithmetic that the core has
 * no instruction for (Run-time ABI for the Arm Architecture, IHI 0043). All of it gives way to a library's own. */
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#define PLAIN __attribute__((weak, used, no_builtin))
#else
#define PLAIN __attribute__((weak, used, optimize("no-tree-loop-distribute-patterns")))
#endif

static inline uint32_t both(const void *a, const void *b)
{
    return (uint32_t)(uintptr_t)a | (uint32_t)(uintptr_t)b;
}

PLAIN void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((both(d, s) & 3u) == 0)
        for (; count >= 4; count -= 4, d += 4, s += 4)
            *(uint32_t *)(void *)d = *(const uint32_t *)(const void *)s;
    for (; count > 0; count--)
        *d++ = *s++;
    return to;
}

PLAIN void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (d <= s)
        for (; count > 0; count--)
            *d++ = *s++;
    else
        for (; count > 0; count--)
            d[count - 1] = s[count - 1];
    return to;
}

PLAIN void *memset(void *to, int value, size_t count)
{
    uint8_t *d = to;
    const uint32_t word = (uint8_t)value * 0x01010101u;
    for (; count > 0 && ((uintptr_t)d & 3u); count--)
        *d++ = (uint8_t)value;
    for (; count >= 4; count -= 4, d += 4)
        *(uint32_t *)(void *)d = word;
    for (; count > 0; count--)
        *d++ = (uint8_t)value;
    return to;
}

PLAIN void __aeabi_memcpy(void *to, const void *from, size_t count) { memcpy(to, from, count); }
PLAIN void __aeabi_memcpy4(void *to, const void *from, size_t count) { memcpy(to, from, count); }
PLAIN void __aeabi_memcpy8(void *to, const void *from, size_t count) { memcpy(to, from, count); }
PLAIN void __aeabi_memmove(void *to, const void *from, size_t count) { memmove(to, from, count); }
PLAIN void __aeabi_memmove4(void *to, const void *from, size_t count) { memmove(to, from, count); }
PLAIN void __aeabi_memmove8(void *to, const void *from, size_t count) { memmove(to, from, count); }
PLAIN void __aeabi_memset(void *to, size_t count, int value) { memset(to, value, count); }
PLAIN void __aeabi_memset4(void *to, size_t count, int value) { memset(to, value, count); }
PLAIN void __aeabi_memset8(void *to, size_t count, int value) { memset(to, value, count); }
PLAIN void __aeabi_memclr(void *to, size_t count) { memset(to, 0, count); }
PLAIN void __aeabi_memclr4(void *to, size_t count) { memset(to, 0, count); }
PLAIN void __aeabi_memclr8(void *to, size_t count) { memset(to, 0, count); }

typedef union {
    uint64_t whole;
    struct {
        uint32_t low, high;
    } half;
} wide;

/* Division by 64 bits, which no Cortex-M has, bit by bit. */
__attribute__((weak, used)) uint64_t edgelab_divide(uint64_t number, uint64_t by, uint64_t *rest)
{
    uint64_t quotient = 0, remainder = 0;
    int bit;
    for (bit = 63; bit >= 0; bit--) {
        remainder = remainder << 1 | (number >> bit & 1u);
        if (remainder >= by && by) {
            remainder -= by;
            quotient |= (uint64_t)1 << bit;
        }
    }
    *rest = remainder;
    return quotient;
}

__attribute__((weak, used)) int64_t edgelab_divide_signed(int64_t number, int64_t by, int64_t *rest)
{
    const uint64_t a = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    const uint64_t b = by < 0 ? 0 - (uint64_t)by : (uint64_t)by;
    uint64_t left;
    const uint64_t quotient = edgelab_divide(a, b, &left);
    *rest = (int64_t)(number < 0 ? 0 - left : left);
    return (int64_t)((number < 0) != (by < 0) ? 0 - quotient : quotient);
}

/* Quotient in r0 and r1, remainder in r2 and r3: a pair that C cannot return. */
#define DIVISION(name, function)                                                                                       \
    __asm(".section .text." name ", \"ax\", %progbits\n.syntax unified\n.thumb\n.balign 4\n.weak " name                \
          "\n.type " name ", %function\n.thumb_func\n" name                                                             \
          ":\n push {r6, lr}\n sub sp, sp, #16\n add r6, sp, #8\n str r6, [sp]\n bl " function                          \
          "\n ldr r2, [sp, #8]\n ldr r3, [sp, #12]\n add sp, sp, #16\n pop {r6, pc}\n.size " name ", . - " name "\n.text\n")
DIVISION("__aeabi_uldivmod", "edgelab_divide");
DIVISION("__aeabi_ldivmod", "edgelab_divide_signed");

#if defined(__ARM_ARCH_6M__)
PLAIN uint64_t __aeabi_lmul(uint64_t x, uint64_t y)
{
    const uint32_t a = (uint32_t)x, b = (uint32_t)y;
    const uint32_t al = a & 0xFFFFu, ah = a >> 16, bl = b & 0xFFFFu, bh = b >> 16;
    uint32_t cross = ah * bl, carry = al * bl;
    __asm("" : "+r"(cross), "+r"(carry)); /* or the compiler sees a 64-bit product here and calls this function */
    const uint32_t middle = (carry >> 16) + (cross & 0xFFFFu) + al * bh; /* at most 2^32 - 1 */
    wide product;
    product.half.low = middle << 16 | (carry & 0xFFFFu);
    product.half.high = ah * bh + (cross >> 16) + (middle >> 16);
    product.half.high += a * (uint32_t)(y >> 32) + (uint32_t)(x >> 32) * b;
    return product.whole;
}

PLAIN uint64_t __aeabi_llsl(uint64_t x, int by)
{
    wide v;
    v.whole = x;
    if (by >= 32) {
        v.half.high = v.half.low << (by - 32);
        v.half.low = 0;
    } else if (by > 0) {
        v.half.high = v.half.high << by | v.half.low >> (32 - by);
        v.half.low <<= by;
    }
    return v.whole;
}

PLAIN uint64_t __aeabi_llsr(uint64_t x, int by)
{
    wide v;
    v.whole = x;
    if (by >= 32) {
        v.half.low = v.half.high >> (by - 32);
        v.half.high = 0;
    } else if (by > 0) {
        v.half.low = v.half.low >> by | v.half.high << (32 - by);
        v.half.high >>= by;
    }
    return v.whole;
}

PLAIN uint64_t __aeabi_lasr(uint64_t x, int by)
{
    wide v;
    v.whole = x;
    if (by >= 32) {
        v.half.low = (uint32_t)((int32_t)v.half.high >> (by - 32));
        v.half.high = (uint32_t)((int32_t)v.half.high >> 31);
    } else if (by > 0) {
        v.half.low = v.half.low >> by | v.half.high << (32 - by);
        v.half.high = (uint32_t)((int32_t)v.half.high >> by);
    }
    return v.whole;
}

/* Quotient in r0, remainder in r1. */
PLAIN uint64_t __aeabi_uidivmod(uint32_t number, uint32_t by)
{
    wide answer;
    uint32_t quotient = 0, remainder = 0;
    int bit;
    for (bit = 31; bit >= 0; bit--) {
        remainder = remainder << 1 | (number >> bit & 1u);
        if (remainder >= by && by) {
            remainder -= by;
            quotient |= 1u << bit;
        }
    }
    answer.half.low = quotient;
    answer.half.high = remainder;
    return answer.whole;
}

PLAIN uint64_t __aeabi_idivmod(int32_t number, int32_t by)
{
    wide answer;
    answer.whole = __aeabi_uidivmod(number < 0 ? 0u - (uint32_t)number : (uint32_t)number,
                                    by < 0 ? 0u - (uint32_t)by : (uint32_t)by);
    if ((number < 0) != (by < 0))
        answer.half.low = 0u - answer.half.low;
    if (number < 0)
        answer.half.high = 0u - answer.half.high;
    return answer.whole;
}

PLAIN uint32_t __aeabi_uidiv(uint32_t number, uint32_t by) { return (uint32_t)__aeabi_uidivmod(number, by); }
PLAIN int32_t __aeabi_idiv(int32_t number, int32_t by) { return (int32_t)(uint32_t)__aeabi_idivmod(number, by); }
#endif
