/* What a 64-bit ARM was about when a signal came. Runs in the handler of crash.c. */
#include "pool/process/crash.h"
#include <ucontext.h>

enum { LINK_REGISTER = 30 };

uintptr_t mp__context_place(const void *context)
{
    const ucontext_t *at = context;
    return (uintptr_t)at->uc_mcontext.pc;
}

bool mp__context_return(void *context)
{
    ucontext_t *at = context;
    at->uc_mcontext.pc = at->uc_mcontext.regs[LINK_REGISTER];
    return true;
}
