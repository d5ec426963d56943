// exhaust SIZE: blocks of SIZE until there are no more, all back, and as many again. Says how many there were.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../src/segfit.h"

static int all_there_are(size_t size, void ***last) {
    int count = 0;
    void **block;
    errno = 0;
    while ((block = seg_alloc(size))) {
        *block = *last;
        *last = block;
        count++;
    }
    return errno == ENOMEM ? count : -1;
}

static void give_back(void **last) {
    while (last) {
        void **next = *last;
        seg_free(last);
        last = next;
    }
}

int main(int argc, char **argv) {
    size_t size = argc > 1 ? atoi(argv[1]) : 1000;
    void **last = NULL;
    int first = all_there_are(size, &last);
    give_back(last);
    last = NULL;
    int again = all_there_are(size, &last);
    give_back(last);
    printf("%d\n", first);
    return first < 0 || first != again;
}
