/* Captured output of workers: printed by the program, piece by piece.
 *
 * A terminal or a pipe may make its writer wait, so it is not whoever drives the pool that writes but the callback thread, behind
 * what was there before; the pool gets no new items while much waits. A piece is one fwrite: other threads of the program that
 * print do so before it or behind it. A line that its item has not ended is ended here, or the next piece would go on in it. What
 * there is no memory for is lost, and only that. Under the pool's lock, but for the writing itself. */
#include "pool/output.h"
#include "pool/clock.h"
#include "serial/memory.h"
#include <stdio.h>
#include <string.h>

enum { WAITING_MAX = 8 << 20 };

typedef struct piece {
    mp__callback callback; /* first */
    mp__dispatch *dispatch;
    FILE *to;
    size_t size;
    char bytes[];
} piece;

static void print_piece(mp__callback *callback)
{
    const piece *p = (const piece *)callback;
    fwrite(p->bytes, 1, p->size, p->to);
    fflush(p->to);
}

static void printed(mp__callback *callback)
{
    piece *p = (piece *)callback;
    mp__dispatch *d = p->dispatch;
    bool had_room = mp__output_has_room(d);
    d->unprinted -= p->size;
    free(p);
    if (had_room || !mp__output_has_room(d))
        return;
    mp__core_time(d->core, mp__now());
    mp__dispatch_send_all(d);
    mp__dispatch_acted(d); /* it may have a time-out, or have been the last of a life */
}

static void print(mp__dispatch *d, FILE *to, const char *bytes, size_t size)
{
    piece *p = size ? mp__memory.malloc(sizeof *p + size + 1) : NULL;
    if (!p)
        return;
    *p = (piece){.callback = {.run = print_piece, .ran = printed}, .dispatch = d, .to = to, .size = size};
    memcpy(p->bytes, bytes, size);
    if (bytes[size - 1] != '\n')
        p->bytes[p->size++] = '\n';
    d->unprinted += p->size;
    mp__callbacks_push(d, &p->callback);
}

void mp__output_print(mp__dispatch *d, const mp__evidence *evidence)
{
    print(d, stdout, evidence->out, evidence->out_told ? 0 : evidence->out_size);
    print(d, stderr, evidence->err, evidence->err_told ? 0 : evidence->err_size);
}

bool mp__output_has_room(const mp__dispatch *d)
{
    return d->unprinted < WAITING_MAX;
}
