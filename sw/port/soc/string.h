/* The two functions of the C library that kernels and compiler use; cluster.c defines them. */
#ifndef TDCO_STRING_H
#define TDCO_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#endif
