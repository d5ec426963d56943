/* What memcheck.c and its Python side (emu/native/memory.py) share. emu/cpu/pythonmemory.py is the twin, and says why. */
#ifndef HEAPSCOPE_MEMCHECK_H
#define HEAPSCOPE_MEMCHECK_H

#include <stdint.h>

#define MC_HELPERS 19 /* functions that translated code loads and stores by */
#define MC_APARTS 19  /* functions for instructions that do so in a way of their own */

enum { /* of an instruction: emu/calls.py */
    MC_KNOWN = 1,
    MC_ALLOCATOR = 2, /* it may do anything */
    MC_SCANS = 4,     /* a string function, which looks further than it must; its string is in rdi */
    MC_READS = 8,     /* another of these, whose loads tell nothing */
    MC_BOTH = 32,     /* and another in rsi */
    MC_WIDE = 16,     /* it loads 16 bytes at once, which come in two halves */
    MC_COPIES = 256   /* it copies what it loads */
};

typedef struct {
    uint64_t cr3;                         /* of the address space that is checked */
    uint64_t tells;                       /* accesses of one instruction that are told */
    uint64_t loads_blank;                 /* 1: loads of blank bytes are told */
    uint64_t blocks, redirected;          /* looked through; and calls in them */
    void *cpu;                            /* Unicorn's CPU object */
    int (*restore)(void *cpu, uintptr_t host_pc, int will_exit); /* makes RIP exact */
    void *helpers[MC_HELPERS];            /* as emu/native/memory.py orders them; NULL: none such */
    void *aparts[MC_APARTS];              /* so are these; and between which addresses they lie */
    uintptr_t apart_low, apart_high;
    uint32_t (*on_pc)(uint64_t pc);
    void (*on_access)(uint64_t pc, uint64_t va, uint32_t size, uint32_t how); /* 0: reads, 1: writes, 3: reads blank bytes */
} mc_state;

extern int mc_on;

/* A traced function has handed out a block; `inner`: to another of them. */
void mc_made(uint64_t pointer, uint64_t size, uint32_t function, int inner);

/* A block is about to be another one, whose mc_made comes next: it is resized. */
void mc_keep(uint64_t pointer, uint64_t size);

/* The program has asked how much of a block it may use. */
void mc_asked(uint64_t pointer, uint64_t size, uint64_t usable, uint32_t function);

/* It is the allocator's again. */
void mc_gone(uint64_t pointer, uint64_t size);

/* Translated code calls the block hook, to return to `ra`; ra NULL: the block at `address` was translated. */
void mc_translated(uint64_t address, uint64_t size, uint8_t *ra);

#endif
