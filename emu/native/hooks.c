/* The hooks that Unicorn calls often: every block, every interrupt, every syscall. Equal in result to emu/cpu/hooks.py
 * and emu/cpu/engine.py, which say why; here is only how. */
#include "hooks.h"

#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define PAGE 4096u
#define PRESENT 1ull
#define WRITABLE 2ull
#define SPECIAL (1ull << 9)
#define NX (1ull << 63)
#define FRAME 0x000FFFFFFFFFF000ull
#define CLEAN (1u << 31)
#define LONGEST 15
#define NONE (~0ull)
#define PAGE_FAULT 0x14Eu
#define CTL_TLB_FLUSH (11 | 1 << 30)

enum { RAX = 35, RCX = 38, RDX = 40, RDI = 39, RIP = 41, RSI = 43, R8 = 106, R9 = 107, R10 = 108, R11 = 109, RFLAGS = 253 };

/* --- guest memory, through its page tables --------------------------------------------------------------------- */

static uint64_t *word_at(const hs_state *s, uint64_t pa) { return (uint64_t *)(s->ram + pa); }

/* The PTE of va, or NULL where a table is missing. */
static uint64_t *find_pte(const hs_state *s, uint64_t va)
{
    uint64_t table = s->cr3 & FRAME;
    for (int shift = 39;; shift -= 9) {
        uint64_t pa = table + (va >> shift & 511) * 8;
        if (pa + 8 > s->ram_size)
            return NULL;
        uint64_t *entry = word_at(s, pa);
        if (shift == 12)
            return entry;
        if (!(*entry & PRESENT))
            return NULL;
        table = *entry & FRAME;
    }
}

/* Copy up to n bytes at va; how many were there. */
static size_t read_guest(const hs_state *s, uint64_t va, uint8_t *to, size_t n)
{
    size_t done = 0;
    while (done < n) {
        uint64_t *pte = find_pte(s, va + done);
        if (!pte || !(*pte & PRESENT))
            break;
        uint64_t offset = (va + done) % PAGE, pa = (*pte & FRAME) + offset;
        size_t piece = PAGE - offset < n - done ? PAGE - offset : n - done;
        if (pa + piece > s->ram_size)
            break;
        memcpy(to + done, s->ram + pa, piece);
        done += piece;
    }
    return done;
}

/* --- how long an instruction is: emu/cpu/decode.py, line by line ------------------------------------------------- */

static size_t operands(const uint8_t *code, size_t end, size_t i, unsigned flags, int operand16, int address32, int wide)
{
    if (flags & HS_MODRM) {
        if (i >= end)
            return i + LONGEST;
        unsigned modrm = code[i++], mode = modrm >> 6, rm = modrm & 7;
        if (mode != 3) {
            if (rm == 4) {
                rm = i < end ? code[i] & 7 : 0;
                i++;
            }
            i += mode == 1 ? 1 : mode == 2 || rm == 5 ? 4 : 0;
        }
        if (flags & HS_GROUP3 && modrm & 0x30)
            return i;
    }
    if (flags & HS_IMM8)
        i += 1;
    if (flags & HS_IMM16)
        i += 2;
    if (flags & HS_IMMZ)
        i += operand16 ? 2 : 4;
    if (flags & HS_IMMV)
        i += wide ? 8 : operand16 ? 2 : 4;
    if (flags & HS_MOFFS)
        i += address32 ? 4 : 8;
    return i;
}

static size_t length_at(const hs_state *s, const uint8_t *code, size_t end, size_t at)
{
    size_t i = at;
    int operand16 = 0, address32 = 0, wide = 0;
    unsigned mandatory = 0;
    while (i < end && s->one_byte[code[i]] & HS_PREFIX) {
        unsigned byte = code[i++];
        wide = (byte & 0xF8) == 0x48;
        if (byte == 0x66)
            operand16 = 1;
        else if (byte == 0x67)
            address32 = 1;
        else if (byte == 0xF2 || byte == 0xF3)
            mandatory = byte;
    }
    if (i + 1 >= end)
        return LONGEST;
    unsigned opcode = code[i++], flags = s->one_byte[opcode];
    if (opcode == 0x0F) {
        opcode = code[i++];
        if (opcode == 0x38 || opcode == 0x3A) {
            flags = opcode == 0x38 ? HS_MODRM : HS_MODRM | HS_IMM8;
            i++;
        } else {
            flags = s->two_byte[opcode];
            if (opcode == 0x78 && (operand16 || mandatory == 0xF2))
                i += 2;
        }
    } else if (opcode == 0xC4 || opcode == 0xC5) {
        unsigned map = opcode == 0xC5 ? 1 : code[i] & 31;
        i += opcode == 0xC5 ? 1 : 2;
        if (i >= end)
            return LONGEST;
        flags = map == 1 ? s->two_byte[code[i]] : HS_MODRM | (map == 3 ? HS_IMM8 : 0);
        i++;
    }
    return operands(code, end, i, flags, operand16 && !wide, address32, wide) - at;
}

/* --- counting ------------------------------------------------------------------------------------------------------ */

/* The instructions of [address, address + size) that begin at rip or after it. */
static uint64_t count_from(const hs_state *s, uint64_t address, uint64_t size, uint64_t rip)
{
    uint8_t code[2 * PAGE];
    uint64_t n = 0;
    size_t end = read_guest(s, address, code, size < sizeof code ? size : sizeof code);
    for (size_t at = 0; at < end; at += length_at(s, code, end, at))
        n += address + at >= rip;
    return n;
}

static uint64_t left(const hs_state *s, uint64_t rip)
{
    if (rip - s->start >= s->size)
        return 0;
    return rip == s->start ? s->count : count_from(s, s->start, s->size, rip);
}

/* The last block was cut short by a store into itself at `address`, if the instruction there now runs alone. */
static void came_again(hs_state *s, uint64_t address, uint64_t size)
{
    uint8_t code[LONGEST];
    uint64_t rest = left(s, address);
    if (rest > 1 && length_at(s, code, read_guest(s, address, code, LONGEST), 0) == size)
        s->total -= (int64_t)rest;
}

static hs_entry *slot(const hs_state *s, uint64_t address)
{
    return &s->map[address * 0x9E3779B97F4A7C15ull >> (64 - HS_MAP_BITS)];
}

EXPORT void hs_on_block(void *uc, uint64_t address, uint32_t size, hs_state *s)
{
    (void)uc;
    if (address - s->start < s->size && (address != s->start || size != s->size))
        came_again(s, address, size);
    hs_entry *e = slot(s, address);
    if (e->address != address || e->size != size || e->generation != (uint32_t)s->generation) {
        e->address = address;
        e->size = (uint16_t)size;
        e->count = (uint16_t)count_from(s, address, size, 0);
        e->generation = (uint32_t)s->generation;
    }
    int64_t total = s->total + e->count;
    s->start = address;
    if (total > s->limit && !s->on_limit(address, size)) {
        s->size = 0;
        return;
    }
    s->total = total;
    s->size = size;
    s->count = e->count;
}

/* A block was translated: what was known of its address may be of other bytes. `block` is a uc_tb, the address first. */
EXPORT void hs_on_edge(void *uc, const uint64_t *block, const void *before, hs_state *s)
{
    (void)uc, (void)before;
    hs_entry *e = slot(s, *block);
    if (e->address == *block)
        e->generation = (uint32_t)s->generation - 1;
}

EXPORT int64_t hs_settle(hs_state *s, uint64_t rip)
{
    s->total -= (int64_t)left(s, rip);
    s->start = rip;
    s->size = 0;
    return s->total;
}

EXPORT int64_t hs_here(const hs_state *s, uint64_t rip) { return s->total - (int64_t)left(s, rip); }

EXPORT void hs_forget(hs_state *s)
{
    if (!(uint32_t)++s->generation) {
        s->generation = 2;
        memset(s->map, 0, sizeof(hs_entry) << HS_MAP_BITS);
    }
}

/* For tests: as decode.length. */
EXPORT uint64_t hs_length(const hs_state *s, const uint8_t *code, uint64_t n, uint64_t at) { return length_at(s, code, n, at); }

/* --- page faults: what kernel/mm/fault.py does for the anonymous private VMA in `window` ------------------------- */

/* Frames.alloc: a zeroed frame with one reference, or NONE. */
static uint64_t alloc_frame(hs_state *s)
{
    uint64_t n = s->frame_counters[HS_FREE], pfn;
    if (n) {
        uint32_t entry = s->free[n - 1];
        pfn = entry & ~CLEAN;
        s->frame_counters[HS_FREE] = n - 1;
        if (!(entry & CLEAN))
            memset(s->ram + pfn * PAGE, 0, PAGE);
    } else {
        pfn = s->frame_counters[HS_BUMP];
        if (pfn >= s->frame_counters[HS_LIMIT])
            return NONE;
        s->frame_counters[HS_BUMP] = pfn + 1;
    }
    s->refs[pfn] = 1;
    return pfn;
}

/* handle_mm_fault for the first touch of a page of `window`, and for the first write after a read. 0: not ours. */
static int fault_here(hs_state *s, uint64_t va, uint32_t error)
{
    const uint64_t *window = s->window;
    if (!window || va < window[HS_START] || va >= window[HS_END])
        return 0;
    uint64_t *pte = find_pte(s, va);
    if (!pte)
        return 0;
    uint64_t write_bits = window[HS_WRITE_BITS], read_bits = window[HS_READ_BITS];
    if (error == 4) { /* a read of an absent page: the zero page */
        if (*pte || !read_bits)
            return 0;
        *pte = s->frame_counters[HS_ZERO] << 12 | read_bits;
    } else { /* a write: of an absent page, or of the zero page where that holds no code */
        if (!write_bits || (error != 6 && error != 7))
            return 0;
        if (error == 6 ? *pte != 0 : !(*pte & SPECIAL) || *pte & WRITABLE || !(*pte & PRESENT) || !(write_bits & NX))
            return 0;
        uint64_t pfn = alloc_frame(s);
        if (pfn == NONE)
            return 0;
        *pte = pfn << 12 | write_bits;
        s->mm_counters[HS_ANON]++;
    }
    s->mm_counters[HS_MIN_FLT]++;
    return 1;
}

EXPORT void hs_on_interrupt(void *uc, uint32_t number, hs_state *s)
{
    uint64_t rip = 0, va = 0;
    uint32_t error = 0;
    s->reg_read(uc, RIP, &rip);
    hs_settle(s, rip);
    if (s->error_code) {
        s->context_save(uc, s->context);
        error = *s->error_code;
    }
    if (number == PAGE_FAULT) {
        va = *s->fault_address;
        if (++s->faults >= s->flush_at) {
            s->flush_at *= 2;
            s->ctl(uc, CTL_TLB_FLUSH);
        }
        if (s->error_code && fault_here(s, va, error))
            return;
    }
    s->on_interrupt(number, rip, va, error);
}

/* --- syscalls ---------------------------------------------------------------------------------------------------- */

EXPORT void hs_on_syscall(void *uc, hs_state *s)
{
    static const int entry[] = {RAX, RDI, RSI, RDX, R10, R8, R9, RIP, RFLAGS}, clobbered[] = {RCX, R11}, result[] = {RAX};
    uint64_t v[9], next;
    void *pointers[9], *two[] = {&next, &v[8]};
    for (int i = 0; i < 9; i++)
        pointers[i] = &v[i];
    s->reg_read_batch(uc, entry, pointers, 9);
    s->next_rip = next = s->size ? s->start + s->size : v[7] + 2;
    s->reg_write_batch(uc, clobbered, two, 2);
    s->keep_rax = 0;
    int64_t rax = s->on_syscall(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
    if (!s->keep_rax) {
        void *one[] = {&rax};
        s->reg_write_batch(uc, result, one, 1);
    }
    s->next_rip = 0;
}
