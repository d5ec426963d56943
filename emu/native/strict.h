/* What an allocator promises, checked at each call of the program: what heap.c tells strict.c, and what strict.c and its
 * Python side (emu/cpu/nativestrict.py) share. emu/cpu/pythonstrict.py is the twin, and says what is checked. */
#ifndef HEAPSCOPE_STRICT_H
#define HEAPSCOPE_STRICT_H

#include "heap.h"

enum { /* emu.calls.VIOLATIONS */
    ST_OVERLAP = 1,
    ST_MISALIGNED,
    ST_NOT_ZERO,
    ST_TOO_SMALL,
    ST_OUTSIDE,
    ST_LOST_BYTES,
    ST_IMPOSSIBLE,
    ST_NO_ERRNO,
    ST_NULL
};

enum { ST_NO_PLACE, ST_IN_TLS, ST_AT_ADDRESS }; /* where errno is */
enum { ST_KIND = 7, ST_STACK = 4, ST_FILE = 8 }; /* of a range: emu/trace/space.py */

typedef struct { /* of a call that is under way */
    uint64_t size;  /* of the block that came in; ALL: it is none that is known */
    uint64_t hash;  /* of what must be kept of it */
    uint32_t known; /* 0: part of it is where it cannot be read */
    uint32_t zeroes;
} st_kept;

typedef struct {
    uint64_t unchecked; /* checks that were left out, because memory is where it cannot be read */
    int64_t errno_at;   /* from the FS base, or an address */
    uint32_t errno_how, fs_base; /* fs_base: its number for reg_read */
    void (*on_violation)(const hp_event *event, uint32_t what, uint64_t detail);
} st_state;

/* The call is entered; flags: of a function with HP_LOG2, else 0. */
void st_entered(const hp_event *e, const hp_function *f, st_kept *kept, uint64_t flags);

/* It returned `rax`; e->result is known, and the block that it released is. */
void st_returned(hp_event *e, const hp_function *f, const st_kept *kept, uint64_t rax);

/* The block at `pointer`, made by `f`, is released. */
void st_released(uint64_t pointer, const hp_function *f);

#endif
