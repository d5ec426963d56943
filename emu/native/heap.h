/* What heap.c and its Python side (emu/cpu/nativeheap.py) share. emu/cpu/heaphooks.py is the twin, and says why. */
#ifndef HEAPSCOPE_HEAP_H
#define HEAPSCOPE_HEAP_H

#include <stdint.h>

#define HP_DEEPEST 64 /* traced functions inside each other, of one thread */
#define HP_FRAMES 64  /* of one call stack */

/* Kinds of functions, by what they do to the heap; emu/uprobes.py has their names. */
enum { HP_MALLOC = 1, HP_CALLOC, HP_REALLOC, HP_FREE, HP_MEMALIGN, HP_NEW, HP_NEW_ARRAY, HP_DELETE, HP_DELETE_ARRAY, HP_USABLE };

enum {
    HP_INNER = 1,          /* made by the allocator itself, inside another traced function */
    HP_UNFINISHED = 2,     /* the run ended inside */
    HP_ABANDONED = 4,      /* left without a return: longjmp, an exception */
    HP_TAIL = 8,           /* entered by a jump from the traced function around it */
    HP_FREED_TWICE = 16,   /* misuse: the block was freed already */
    HP_NO_BLOCK = 32,      /* misuse: no block begins there */
    HP_MISMATCHED = 64,    /* misuse: made by another family (malloc, new, new[]) */
    HP_WRONG_SIZE = 128,   /* misuse: a sized free with another size */
    HP_OVERLAPS = 256,     /* the allocator gave a block that is live */
    HP_CUT = 512,          /* the call stack goes on where nothing tells how */
};
#define HP_MISUSE (HP_FREED_TWICE | HP_NO_BLOCK | HP_MISMATCHED | HP_WRONG_SIZE)

enum { HP_LOG2_ALIGNMENT = 1 }; /* options: the alignment is in the low six bits, as a power of two (mallocx) */

typedef struct { /* a traced function; arguments by their number, -1: it has none */
    uint8_t kind, family, option;
    int8_t size, count, pointer, alignment, out;
} hp_function;

typedef struct { /* one call, written when it returned */
    uint64_t entry;            /* instructions retired before its first */
    uint64_t size;             /* bytes asked for; all ones: a product that does not fit */
    uint64_t pointer, result;  /* what came in, what came out; 0: nothing */
    uint64_t born;             /* number of the event that made the block which this one released; 0: none */
    uint64_t freed;            /* bytes that were asked for that block */
    uint32_t cost;             /* instructions from entry to return; all ones: that or more */
    uint32_t site, stack, tid; /* numbers of the return address and of the call stack (0: none) */
    uint32_t alignment, faults;
    uint16_t syscalls, function;
    uint8_t kind, depth;
    uint16_t flags;
} hp_event;

typedef struct { /* what is known of an address where a block began */
    uint64_t pointer, size;
    uint64_t born;     /* number of the event that made it */
    uint64_t freed_at; /* instructions at the entry of the call that freed it; 0: it lives */
    uint32_t site, stack, freed_site, freed_stack;
    uint16_t function, freed_function;
    uint8_t family, inner, used, unused;
} hp_block;

typedef struct { /* how to find the caller's frame at one return address */
    uint64_t pc;
    int32_t cfa, rbp; /* offsets: of the CFA from its register, of the saved rbp from the CFA (0: not saved) */
    uint8_t by_rbp, how, unused[6]; /* how: 0 not known yet, 1 as told, 2 the end, 3 nothing tells */
} hp_rule;

typedef struct {
    hp_event *ring;
    uint64_t capacity, used;
    uint64_t drained;  /* events before the ring's first */
    uint64_t lost;     /* calls that were not traced: too deep, or no return address could be read */
    uint64_t *registers; /* the CPU's own, in its order; NULL: ask by reg_read */
    const uint64_t *mm_counters; /* whose faults are counted; NULL: none */
    uint64_t cr3;      /* the address space that is traced; 0: none */
    uint32_t tid, depth_of_stacks; /* 0: no call stacks */
    void (*on_full)(void);
    void (*on_misuse)(const hp_event *event, const hp_block *block);
    void (*on_pc)(uint64_t pc, hp_rule *rule);
    /* what grew; for reading */
    uint64_t *sites;   /* return addresses by number; [0] unused */
    uint64_t sites_used;
    uint32_t *frames;  /* all call stacks, one after the other: numbers of pcs */
    hp_block *blocks;
    uint64_t blocks_mask, blocks_used, dead;
    uint64_t stacks_used, frames_used, *stacks; /* (first frame << 8 | length) by number; [0] unused */
    uint64_t *pcs, pcs_used;
} hp_state;

#endif
