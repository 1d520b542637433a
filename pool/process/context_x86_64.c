/* What x86-64 was about when a signal came. Runs in the handler of crash.c. */
#include "pool/process/crash.h"
#include <ucontext.h>

uintptr_t mp__context_place(const void *context)
{
    const ucontext_t *at = context;
    return (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
}

/* The call has pushed where it is to return to. */
bool mp__context_return(void *context)
{
    ucontext_t *at = context;
    at->uc_mcontext.gregs[REG_RIP] = *(const greg_t *)at->uc_mcontext.gregs[REG_RSP];
    at->uc_mcontext.gregs[REG_RSP] += (greg_t)sizeof(greg_t);
    return true;
}
