/* The structs that hooks.c and its ctypes mirror (emu/native/__init__.py) share. Mechanism only: no Python.h, no
 * libunicorn; the functions of both are handed in as pointers. */
#ifndef HEAPSCOPE_HOOKS_H
#define HEAPSCOPE_HOOKS_H

#include <stddef.h>
#include <stdint.h>

/* What all C files here share. */
#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define ALL (~0ull)
#define HASH 0x9E3779B97F4A7C15ull /* 2^64 by the golden ratio: spreads addresses */
#define PAGE 4096ull
#define PRESENT 1ull /* of a page-table entry */
#define FRAME 0x000FFFFFFFFFF000ull

#define HS_MAP_BITS 14        /* direct-mapped cache of blocks that are counted by a call */
#define HS_BLOCKS (1u << 20) /* blocks known at one time: 32 MiB, touched as used */

#define HS_LAST_FLUSH 65536   /* page faults after which the TLB is big enough */

/* Flag bytes of the opcode tables; emu/cpu/decode.py owns them. */
enum { HS_MODRM = 1, HS_IMM8 = 2, HS_IMM16 = 4, HS_IMMZ = 8, HS_IMMV = 16, HS_MOFFS = 32, HS_GROUP3 = 64, HS_PREFIX = 128 };

/* Indices into Frames.counters, Mm.counters and Windows.table, and into a window (kernel/mm/{frames,mm,windows}.py). */
enum { HS_FREE, HS_BUMP, HS_LIMIT, HS_ZERO };
enum { HS_ANON = 0, HS_MIN_FLT = 4 };
enum { HS_TOLD, HS_USED, HS_HEAD };
enum { HS_START, HS_END, HS_WRITE_BITS, HS_READ_BITS, HS_TELL, HS_WIDTH };

typedef struct {
    uint64_t address;
    uint16_t size, count; /* a block is at most a page and an instruction long */
    uint32_t generation : 30;
    uint32_t absent : 1; /* holds an instruction that must not run: on_limit is asked each time */
    uint32_t alone : 1; /* one instruction, which may store: see hs_on_block */
    uint64_t watch; /* heap.c's; 0: not watched */
    int (*run)(uint32_t index); /* of a watched block: called by patched code before it runs; 1: a stop may have been asked for */
} hs_block;

typedef struct {
    /* What each visit to a watched block looks at comes first: two lines of the cache. Translated code names what lies
     * within 127 bytes of the beginning.
     * counting: see emu/cpu/hooks.py. total = limit - left; a block that takes `left` below 0 goes to hs_over */
    int64_t left;
    uint32_t last, unused; /* index of the last counted block; 0: none */
    void (*over)(void);
    int64_t limit;
    hs_block *blocks;
    uint64_t cr3;
    uint64_t syscalls;
    uint64_t entries; /* to the kernel, in C or in Python: in between nothing but the guest changes its memory */

    uint64_t next_rip; /* inside a syscall: the address after it */
    uint64_t keep_rax; /* set by on_syscall: the call has no value */
    uint64_t stale_tlb; /* to be flushed before the guest goes on */
    uint64_t generation;
    uint32_t *map;          /* indices of blocks, by address */
    uint64_t used;          /* blocks [1, used) are taken; HS_BLOCKS: no room, the translations must be dropped */
    uint64_t code, code_end; /* Unicorn's buffer of translated code, if it may be patched; else 0 */
    uint64_t patched;

    /* guest memory */
    uint8_t *ram;
    uint64_t ram_size;
    const uint8_t *one_byte, *two_byte;

    /* Unicorn */
    void *uc, *context;
    const uint32_t *error_code; /* in the saved context; NULL: not found */
    const uint64_t *fault_address;
    int (*reg_read)(void *uc, int regid, void *value);
    int (*reg_read_batch)(void *uc, const int *regids, void *const *values, int count);
    int (*reg_write_batch)(void *uc, const int *regids, void *const *values, int count);
    int (*context_save)(void *uc, void *context);
    int (*ctl)(void *uc, int control, ...);

    /* Python */
    int (*on_limit)(uint64_t address, uint64_t size);
    void (*on_interrupt)(uint32_t number, uint64_t rip, uint64_t va, uint32_t error);
    int64_t (*on_syscall)(uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

    /* faults answered here; windows NULL: none */
    uint64_t *windows;
    uint64_t *mm_counters, *frame_counters;
    uint32_t *refs, *free;

    /* how the TLB is made to grow: flushed after so many page faults, then after twice as many */
    uint64_t faults, flush_at;

    /* heap.c; NULL: nothing is traced. `watched` fills `watch` and `run` of a new block; `reached` is called before one that
     * is watched is counted, each time it is to run and `run` is not called */
    void (*watched)(hs_block *block);
    void (*reached)(uint64_t address, uint64_t watch);
} hs_state;

/* The block at `index` is to run and does not fit below the limit. */
int hs_over_limit(uint32_t index);

/* Copy up to n bytes of guest memory at va; how many were there. */
size_t hs_read_guest(uint64_t va, void *to, size_t n);

/* The last-level page table for va, 512 entries; NULL: there is none. */
uint64_t *hs_page_table(uint64_t va);

/* The same addresses may hold other code, or be watched. */
void hs_forget(void);

/* What `watched` says of this address has changed. */
void hs_watch(uint64_t address);

#endif
