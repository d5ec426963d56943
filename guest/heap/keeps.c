/* Asks the C library for what it keeps for itself: it is no leak of the program. One block of ours is. */
// RUN:
// NOT COMPARED: which locales and tables of alphabets there are is the machine's
#define _GNU_SOURCE
#include <iconv.h>
#include <libintl.h>
#include <locale.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

static void nothing(void) {}
static char *volatile forgotten;

__attribute__((noinline)) static void forget(void) {
    forgotten = malloc(77);
    __asm__ volatile("");
    forgotten = NULL;
}

int main(void) {
    time_t now = 0;
    char word[] = "word", wide[40], *from = word, *to = wide;
    size_t rest = sizeof word, room = sizeof wide;
    putenv("TZ=CET-1CEST,M3.5.0,M10.5.0");
    putenv("LC_ALL=xx_YY.UTF-8");
    if (!setlocale(LC_ALL, "")) setlocale(LC_ALL, "C.UTF-8");
    for (int i = 0; i < 40; i++) atexit(nothing);
    for (int i = 0; i < 3; i++) setenv("NAME", i ? "a longer value" : "value", 1), setenv("TZ", i ? "UTC" : "EST5", 1), tzset();
    localtime(&now);
    iconv_t turn = iconv_open("UTF-16", "UTF-8");
    if (turn != (iconv_t)-1) iconv(turn, &from, &rest, &to, &room), iconv_close(turn);
    bindtextdomain("keeps", "/tmp");
    textdomain("keeps");
    gettext("hello");
    strerror(99999);
    strsignal(999);
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    if (mounts) getmntent(mounts), endmntent(mounts);
    forget();
    fputws(L"kept\n", stdout);
    return 0;
}
