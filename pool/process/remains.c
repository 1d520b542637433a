/* What a worker's death leaves to the parent, taken out of memory that the worker could write to.
 *
 * It is dead, but a child of a task's may still write there: so what is looked at is copied first. Numbers are held against their
 * bounds; a text is made one that can be shown: no zero, no control character but the ends of lines. Whether it tells the truth
 * nobody can know, and nothing depends on it. Under the pool's lock; never blocks. */
#include "pool/process/remains.h"
#include "serial/memory.h"
#include <stdlib.h>
#include <string.h>

void mp__remains_fini(mp__remains *remains)
{
    free(remains->frames);
    for (int i = 0; i < MP__CAPTURED; i++)
        free(remains->printed[i]);
    *remains = (mp__remains){0};
}

/* Terminals obey control characters: those of ASCII, and U+0080 to U+009F. */
static void make_printable(char *text, size_t size)
{
    unsigned char before = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\n') || c == 0x7f || (before == 0xc2 && c >= 0x80 && c <= 0x9f))
            text[i] = '?';
        before = c;
    }
}

void mp__remains_of_crash(mp__remains *remains, const mp__crash *crash, int signal, mp__evidence *evidence)
{
    if (!signal || atomic_load_explicit(&crash->signal, memory_order_acquire) != signal)
        return;
    evidence->has_address = crash->has_address == 1;
    evidence->address = evidence->has_address ? (uintptr_t)crash->address : 0;
    size_t size = atomic_load_explicit(&crash->size, memory_order_acquire);
    if (!size || size > sizeof crash->frames)
        return;
    free(remains->frames);
    remains->frames = mp__memory.malloc(size + 1);
    if (!remains->frames)
        return;
    memcpy(remains->frames, crash->frames, size);
    remains->frames[size] = 0;
    make_printable(remains->frames, size);
    evidence->frames = remains->frames;
    evidence->frames_size = size;
}

void mp__remains_show(mp__evidence *evidence, int which, const char *text, size_t size, bool cut)
{
    *(which ? &evidence->err : &evidence->out) = text;
    *(which ? &evidence->err_size : &evidence->out_size) = size;
    *(which ? &evidence->err_cut : &evidence->out_cut) = cut;
}

/* NULL: no memory. */
static mp__printed *room_for(mp__remains *remains, int which)
{
    if (!remains->printed[which])
        remains->printed[which] = mp__memory.malloc(sizeof *remains->printed[which]);
    return remains->printed[which];
}

void mp__remains_keep(mp__remains *remains, int which, const char *text, size_t size, bool cut, mp__evidence *evidence)
{
    mp__printed *printed = room_for(remains, which);
    if (!printed || size > sizeof printed->text)
        return;
    memcpy(printed->text, text, size);
    mp__remains_show(evidence, which, printed->text, size, cut);
}

void mp__remains_of_output(mp__remains *remains, const int fds[MP__CAPTURED], mp__evidence *evidence)
{
    for (int i = 0; i < MP__CAPTURED; i++) {
        mp__printed *printed = fds[i] < 0 ? NULL : room_for(remains, i);
        size_t size = printed ? mp__capture_read(fds[i], printed) : 0;
        if (size)
            mp__remains_show(evidence, i, printed->text, size, printed->cut);
    }
}
