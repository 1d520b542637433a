/* A processor of which nothing is known: a call to where no code is shows no caller. */
#include "pool/process/crash.h"

uintptr_t mp__context_place(const void *context)
{
    (void)context;
    return UINTPTR_MAX; /* no address of a fault */
}

bool mp__context_return(void *context)
{
    (void)context;
    return false;
}
