#include "cluster.h"

#include <stdarg.h>
#include <string.h>

uint32_t tdco_dma_start(uint32_t l1, uint32_t l2, uint32_t row_bytes, uint32_t rows, int32_t stride_bytes, int to_l1)
{
    volatile uint32_t *const command = tdco_reg(TDCO_DMA_BASE + TDCO_DMA_COMMAND);
    const int two_d = rows > 1 && (uint32_t)stride_bytes != row_bytes;
    const uint32_t counter = *command;
    *command = rows * row_bytes | TDCO_DMA_COMMAND_INCREMENT | TDCO_DMA_COMMAND_EVENT
        | (to_l1 ? TDCO_DMA_COMMAND_TO_L1 : 0) | (two_d ? TDCO_DMA_COMMAND_2D : 0);
    *command = l1;
    *command = l2;
    if (two_d) {
        *command = row_bytes;
        *command = (uint32_t)stride_bytes;
    }
    return counter;
}

int tdco_dma_busy(uint32_t counter)
{
    volatile uint32_t *const status = tdco_reg(TDCO_DMA_BASE + TDCO_DMA_STATUS);
    if (*status >> counter & 1)
        return 1;
    *status = 1u << counter;
    return 0;
}

void tdco_l3_copy(uint32_t l2, uint32_t l3, uint32_t bytes, int to_l2)
{
    const uint32_t before = *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED);
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L2_ADDR) = l2;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L3_ADDR) = l3;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_LENGTH) = bytes;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_START) = (uint32_t)to_l2;
    while (*tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED) == before)
        tdco_wait_event(TDCO_EVENT_L3_DMA);
}

static void put(char c)
{
    *tdco_reg(TDCO_STDOUT_BASE + TDCO_STDOUT_PUTC) = (uint32_t)c;
}

static void put_number(uint32_t value, uint32_t radix, int negative, int width, char fill)
{
    char digits[12];
    int n = 0;
    do {
        const uint32_t digit = value % radix; /* no table: kernels may print, but load nothing from L2 */
        digits[n++] = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
    } while (value /= radix);
    if (negative)
        digits[n++] = '-';
    for (; width > n; width--)
        put(fill);
    while (n)
        put(digits[--n]);
}

void tdco_printf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        const char fill = *++format == '0' ? '0' : ' ';
        int width = 0;
        for (; *format >= '0' && *format <= '9'; format++)
            width = 10 * width + (*format - '0');
        if (*format == 'd') {
            const int32_t value = va_arg(arguments, int32_t);
            put_number(value < 0 ? 0 - (uint32_t)value : (uint32_t)value, 10, value < 0, width, fill);
        } else if (*format == 'u' || *format == 'x') {
            put_number(va_arg(arguments, uint32_t), *format == 'u' ? 10 : 16, 0, width, fill);
        } else if (*format == 's') {
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(*text);
        } else {
            put(*format == 'c' ? (char)va_arg(arguments, int) : *format);
        }
    }
    va_end(arguments);
}

void tdco_exit(uint32_t code)
{
    *tdco_reg(TDCO_SOC_CONTROL_BASE + TDCO_SOC_EXIT) = 1u << 31 | code;
    for (;;)
        __asm__ volatile("wfi");
}

/* The compiler emits calls to these, and must not make their loops calls of themselves. */
__attribute__((no_builtin)) void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

__attribute__((no_builtin)) void *memset(void *to, int value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((char *)to)[i] = (char)value;
    return to;
}
