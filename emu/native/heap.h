/* What heap.c and its Python side (emu/native/calls.py) share. emu/cpu/pythoncalls.py is the twin, and says why. */
#ifndef HEAPSCOPE_HEAP_H
#define HEAPSCOPE_HEAP_H

#include <stdint.h>

#define HP_DEEPEST 64 /* traced functions inside each other, of one thread */
#define HP_FRAMES 64  /* of one call stack */

/* What a traced function does to the heap. The last three are of pools: to release what is in one, to leave that to the
 * thread's first one, and to make one that which the thread's plain calls allocate from. */
enum { HP_ALLOCATE = 1, HP_RESIZE, HP_RELEASE, HP_ASK, HP_SWEEP, HP_MERGE, HP_CHOOSE };

#define HP_DEFAULT_POOL -2 /* in place of an argument: the one that HP_CHOOSE has told of */

enum { /* of a function */
    HP_LOG2 = 1,      /* its alignment is in the low six bits, as a power of two (mallocx) */
    HP_EXACT_SIZE = 2, /* it is told the size that was asked for (sized delete) */
    /* what it promises: see strict.c */
    HP_ZEROES = 4,
    HP_NEVER_NULL = 8,
    HP_SETS_ERRNO = 16,
    HP_RULED = 32, /* not known by its name: its memory may be blocks of another allocator */
    HP_FREES_FAILED = 64, /* reallocf: if it fails, the block is gone too */
    HP_IN_PLACE = 128     /* xallocx: returns a size, no pointer; the block stays if that is less than asked for */
};

enum { /* of an event */
    HP_INNER = 1,        /* made inside another traced function: the allocator's own business */
    HP_TAIL = 2,         /* entered by a jump from the one around it */
    HP_UNFINISHED = 4,   /* the run ended inside */
    HP_ABANDONED = 8,    /* left without a return: longjmp, an exception */
    HP_FREED_TWICE = 16, /* misuse: the block was released already */
    HP_NO_BLOCK = 32,    /* misuse: no block begins there */
    HP_MISMATCHED = 64,  /* misuse: made by another family (malloc, new, new[]) */
    HP_WRONG_SIZE = 128, /* misuse: a sized release with another size */
    HP_OVERLAPS = 256,   /* the allocator handed out a block that is live */
    HP_CUT = 512,        /* its call stack goes on where nothing tells how */
    HP_BROKEN = 1024     /* the allocator broke a promise: see strict.c */
};
#define HP_MISUSE (HP_FREED_TWICE | HP_NO_BLOCK | HP_MISMATCHED | HP_WRONG_SIZE)

typedef struct { /* a traced function; arguments by number, -1: it has none such */
    uint8_t verb, kind, family, options;
    int8_t size, count, pointer, alignment, out;
    uint8_t aligned; /* what it makes is aligned to 1 << aligned, or as far as the size asks for if that is 16 or less */
    int8_t pool;     /* -1: of none */
    int8_t unused[5];
} hp_function;

typedef struct { /* one call, written when it has returned, or a block that went with its pool (kind 0); emu/trace/heap.py documents it */
    uint64_t entry, size, pointer, result, born, freed;
    uint32_t cost, site, stack, tid, alignment, faults;
    uint16_t syscalls, function;
    uint8_t kind, depth;
    uint16_t flags;
} hp_event;

typedef struct { /* a block, live or not, at an address where one began */
    uint64_t pointer, size;
    uint64_t born;     /* number of the event that made it */
    uint64_t freed_at; /* instructions at the entry of the call that released it; 0: it lives */
    uint32_t site, stack, freed_site, freed_stack;
    uint16_t function, freed_function;
    uint8_t family, inner, used, unused; /* used: 1 */
    uint64_t pool; /* 0: none, or the thread's first one */
} hp_block;

typedef struct { /* live blocks of one call stack or, where none was taken, one call site */
    uint64_t stack, site, blocks, bytes;
} hp_leak;

typedef struct { /* what a block of one size takes, and how many there are */
    uint64_t size, takes, blocks;
} hp_taken;

typedef struct { /* emu/analysis/ends.py; leaks of no blocks are none */
    uint64_t live, freed, elsewhere;
    hp_leak *leaks;
    uint64_t leaks_used;
    hp_taken *taken;
    uint64_t taken_used;
} hp_ends;

#define HP_CLASSES 66
#define HP_SMALL 1024

typedef struct { /* what emu/analysis/heap.py makes of the events, counted as they come */
    uint64_t events, inner, failed, unreturned, misused, overlaps, allocated, freed;
    int64_t live, live_blocks, peak, peak_blocks;
    uint64_t peak_event, peak_instructions, faults[2], syscalls[2], calls[16];
    uint64_t sizes[HP_CLASSES], costs[2][HP_CLASSES][HP_SMALL];
} hp_totals;

enum { HP_UNKNOWN, HP_GOES_ON, HP_ENDS, HP_NOTHING_TELLS };

typedef struct { /* how to find the caller's frame at one return address */
    uint64_t pc;
    int32_t cfa, rbp; /* the CFA from its register; where rbp was saved, from the CFA (0: it was not) */
    uint8_t by_rbp, how, unused[6];
} hp_rule;

typedef struct {
    hp_event *ring; /* NULL: nobody takes the events */
    uint64_t capacity, used;
    uint64_t events;     /* that are settled */
    uint64_t lost;       /* calls that could not be traced: too deep, or without a return address */
    const uint64_t *registers; /* the CPU's own, in its order; NULL: ask reg_read */
    const uint64_t *mm_counters; /* whose page faults are counted; NULL: none */
    uint64_t cr3;        /* of the address space that is traced */
    uint32_t tid, stack_depth; /* frames kept of each call stack; 0: none */
    void (*on_full)(void);
    void (*on_misuse)(const hp_event *event, const hp_block *block);
    void (*on_pc)(uint64_t pc, hp_rule *rule);
    /* for reading */
    hp_block *blocks; /* open addressing; the pointer of an empty place is 0 */
    uint64_t blocks_size;
    uint64_t *sites, sites_used; /* return addresses by number; [0] is none */
    uint64_t *stacks, stacks_used; /* first frame << 8 | frames, by number; [0] is none */
    uint32_t *frames;            /* numbers of rules */
    uint64_t frames_used;
    hp_rule *rules;
    uint64_t rules_used; /* [0] is none */
    hp_totals *totals;
    uint64_t *places, places_size; /* calls and bytes by call stack, or by site where no stacks are taken */
    uint64_t *dear, dear_mask, dear_used; /* (key, calls) of costs from HP_SMALL on: a hash table; key 0: empty */
    uint64_t most;    /* bytes that one table may take */
    uint64_t stopped; /* no memory for a table: nothing was traced from there on */
    uint64_t strict;  /* 1: the allocator's promises are checked */
    uint64_t quick;   /* 1: nobody wants more than what the events add up to: heap_quick.h */
} hp_state;

/* Is the thread that runs inside a traced function? */
int hp_inside(void);

#endif
