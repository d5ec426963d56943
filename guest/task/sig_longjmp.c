/* Leaving handlers by siglongjmp, 200 times: the mask comes back, nothing piles up. */
#include "guest.h"

int main(void) {
    catch_faults();
    int caught = 0;
    for (int i = 0; i < 200; i++) {
        struct fault f = CATCH(STORE(PAGE * (uintptr_t)(i % 16)));
        caught += f.sig == SIGSEGV && f.addr == PAGE * (uintptr_t)(i % 16);
    }
    sigset_t now;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0 && !sigismember(&now, SIGSEGV));
    printf("caught %d\n", caught);
    return 0;
}
