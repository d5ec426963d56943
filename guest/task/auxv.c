/* The auxiliary vector: which entries, in which order, and that each tells the truth. */
// KINDS: musl glibc musl-pie glibc-pie
// RUN:
// RUN: A=1 x y
#include "guest.h"
#include <elf.h>
#include <sys/auxv.h>

extern char **environ;
extern void _start(void);

static const struct {
    unsigned long type;
    const char *name;
} entries[] = {
    {AT_PHDR, "PHDR"}, {AT_PHENT, "PHENT"}, {AT_PHNUM, "PHNUM"}, {AT_PAGESZ, "PAGESZ"}, {AT_BASE, "BASE"},
    {AT_FLAGS, "FLAGS"}, {AT_ENTRY, "ENTRY"}, {AT_UID, "UID"}, {AT_EUID, "EUID"}, {AT_GID, "GID"}, {AT_EGID, "EGID"},
    {AT_SECURE, "SECURE"}, {AT_RANDOM, "RANDOM"}, {AT_HWCAP, "HWCAP"}, {AT_HWCAP2, "HWCAP2"}, {AT_CLKTCK, "CLKTCK"},
    {AT_PLATFORM, "PLATFORM"}, {AT_EXECFN, "EXECFN"}, {51, "MINSIGSTKSZ"},
};

int main(int argc, char **argv) {
    char **p = environ;
    while (*p) p++;
    const Elf64_auxv_t *auxv = (const void *)(p + 1);
    for (const Elf64_auxv_t *a = auxv; a->a_type != AT_NULL; a++)
        for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
            if (entries[i].type == a->a_type) printf("AT_%s\n", entries[i].name);

    CHECK(getauxval(AT_PAGESZ) == PAGE && getauxval(AT_CLKTCK) == 100 && getauxval(AT_FLAGS) == 0 && getauxval(AT_SECURE) == 0);
    CHECK(getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid());
    CHECK(getauxval(AT_GID) == getgid() && getauxval(AT_EGID) == getegid());
    CHECK(getauxval(AT_BASE) == 0);
    CHECK(getauxval(AT_ENTRY) == (unsigned long)_start);
    CHECK(strcmp((char *)getauxval(AT_PLATFORM), "x86_64") == 0);
    CHECK(getauxval(51) >= 512);
    for (const Elf64_auxv_t *a = auxv; a->a_type != AT_NULL; a++) /* not by getauxval: glibc has a word of its own there */
        CHECK(a->a_type != AT_HWCAP || a->a_un.a_val & (1 << 26)); /* CPUID.1:EDX: SSE2 */

    const Elf64_Phdr *phdr = (const void *)getauxval(AT_PHDR);
    CHECK(getauxval(AT_PHENT) == sizeof *phdr);
    int loads = 0;
    unsigned long bias = 0;
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        loads += phdr[i].p_type == PT_LOAD;
        if (phdr[i].p_type == PT_LOAD && phdr[i].p_offset == 0) bias = ((unsigned long)phdr & -PAGE) - phdr[i].p_vaddr;
    }
    CHECK(loads >= 2);
    const Elf64_Ehdr *ehdr = (const void *)((unsigned long)phdr & -PAGE);
    CHECK(memcmp(ehdr->e_ident, ELFMAG, SELFMAG) == 0 && ehdr->e_entry + bias == getauxval(AT_ENTRY));

    const char *execfn = (char *)getauxval(AT_EXECFN);
    const char *end = execfn + strlen(execfn) + 1;
    CHECK(((unsigned long)end + 8) % PAGE == 0); /* 8 zero bytes end the stack */
    CHECK(all_bytes(end, 8, 0));
    const unsigned char *seed = (void *)getauxval(AT_RANDOM);
    int differing = 0;
    for (int i = 1; i < 16; i++) differing += seed[i] != seed[0];
    CHECK(differing > 4);
    CHECK((const char *)seed > (const char *)auxv && (const char *)seed < argv[0]);
    CHECK((unsigned long)&argv[-1] % 16 == 0 && argv[-1] == (char *)(long)argc);
    printf("all of them true\n");
    return 0;
}
