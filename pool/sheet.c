/* Sheets: memory for calls that are posted, cut into pieces one behind the other.
 *
 * From malloc(3) one by one they take more than all else that their submitter does, and lie where others have left holes: in no order
 * for who drives, on another CPU, and waits for each. A sheet is cut from its front to its end, and again when all its pieces have come
 * back. No lock: one sheet is open, and who cuts it takes it away meanwhile. Who finds it gone, for another thread is at it, goes to
 * malloc(3).
 *
 *     open: a sheet  -- cut -->  busy  -- the same, or the next one -->  open: a sheet          busy for good: the pool ends
 *
 * `left` counts the pieces that are in use, and OPEN more while there may be new ones: who makes it 0 is the last, and puts the sheet
 * away. It holds the dispatch until then. Spare ones are a stack: any thread puts on, and only who has taken `open` away takes off,
 * so that what it sees on top cannot be taken off and come back meanwhile.
 *
 * A piece that is kept keeps its sheet, a page. Of spare ones SPARE_MAX are kept at most, and half of those that were not needed while
 * LOOK_EACH were opened are given back: a pool that goes on working does not keep what one burst has needed.
 *
 * Nothing is cut under AddressSanitizer, nor in serial pools, which are for valgrind: so that they see what is used after it was freed. */
#include "pool/sheet.h"
#include "pool/dispatch_state.h"
#include "serial/memory.h"
#include <assert.h>
#include <stdlib.h>

#ifndef __has_feature
#define __has_feature(what) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { CUTS = 0 };
#else
enum { CUTS = 1 };
#endif

enum {
    SHEET_SIZE = 4096 - 16, /* with what malloc(3) adds */
    WORD = sizeof(uint64_t),
    PIECE_MAX = 512, /* bytes */
    OPEN = 1 << 16,
    SPARE_MAX = 2048,
    LOOK_EACH = 2048
};

struct mp__sheet {
    /* fixed while it is in use */
    mp__dispatch *dispatch; /* held */
    /* atomic */
    atomic_uint left;
    /* whose it is that has taken it away */
    uint16_t cut; /* bytes */
    uint16_t pieces;
    /* whoever has put it away, until it is taken from the stack */
    mp__sheet *next;
};
_Static_assert(sizeof(mp__sheet) % WORD == 0, "the first piece is aligned");

static mp__sheet busy;

/* --- spare ones -------------------------------------------------------------------------------------------------------------- */

static void push(mp__sheets *s, mp__sheet *sheet)
{
    sheet->next = atomic_load_explicit(&s->spare, memory_order_relaxed);
    while (
        !atomic_compare_exchange_weak_explicit(&s->spare, &sheet->next, sheet, memory_order_release, memory_order_relaxed))
        continue;
}

/* By who has taken `open` away. */
static mp__sheet *pop(mp__sheets *s)
{
    mp__sheet *sheet = atomic_load_explicit(&s->spare, memory_order_acquire);
    while (sheet && !atomic_compare_exchange_weak_explicit(&s->spare, &sheet, sheet->next, memory_order_acquire,
                                                           memory_order_acquire))
        continue;
    if (sheet)
        atomic_fetch_sub_explicit(&s->spare_count, 1, memory_order_relaxed);
    return sheet;
}

/* What it holds of the dispatch comes last: that may be all that there is of it. */
static void put_away(mp__sheet *sheet)
{
    mp__dispatch *d = sheet->dispatch;
    mp__sheets *s = &d->sheets;
    if (atomic_load_explicit(&s->spare_count, memory_order_relaxed) < SPARE_MAX) {
        atomic_fetch_add_explicit(&s->spare_count, 1, memory_order_relaxed);
        push(s, sheet);
    } else {
        free(sheet);
    }
    mp__dispatch_unref(d);
}

/* --- the open one ------------------------------------------------------------------------------------------------------------ */

static void give_back_some(mp__sheets *s)
{
    unsigned spare = atomic_load_explicit(&s->spare_count, memory_order_relaxed);
    if (spare < s->least)
        s->least = spare;
    if (++s->opened < LOOK_EACH)
        return;
    for (unsigned i = 0; i < s->least / 2; i++)
        free(pop(s));
    s->opened = 0;
    s->least = SPARE_MAX;
}

static mp__sheet *open_one(mp__dispatch *d)
{
    mp__sheet *sheet = pop(&d->sheets);
    give_back_some(&d->sheets);
    if (!sheet)
        sheet = mp__memory.malloc(SHEET_SIZE);
    if (!sheet)
        return NULL;
    *sheet = (mp__sheet){.dispatch = d, .left = OPEN, .cut = sizeof *sheet};
    mp__dispatch_ref(d);
    return sheet;
}

/* It is not cut any more. */
static void shut(mp__sheet *sheet)
{
    unsigned back = OPEN - sheet->pieces;
    if (atomic_fetch_sub_explicit(&sheet->left, back, memory_order_acq_rel) == back)
        put_away(sheet);
}

/* For the one that was taken away, or none, where there is not enough left of it. NULL: no memory. */
static __attribute__((noinline)) mp__sheet *next_one(mp__dispatch *d, mp__sheet *sheet)
{
    if (sheet)
        shut(sheet);
    return open_one(d);
}

void *mp__sheet_take(mp__dispatch *d, size_t size, size_t align, mp__sheet_at *at)
{
    *at = 0;
    if (!CUTS || d->backend->run || size > PIECE_MAX || align > WORD)
        return NULL;
    mp__sheet *sheet = atomic_exchange_explicit(&d->sheets.open, &busy, memory_order_acquire);
    if (sheet == &busy)
        return NULL;
    if (!sheet || sheet->cut + size > SHEET_SIZE)
        sheet = next_one(d, sheet);
    void *piece = sheet ? (char *)sheet + sheet->cut : NULL;
    if (sheet) {
        *at = (mp__sheet_at)(sheet->cut / WORD);
        sheet->cut = (uint16_t)(sheet->cut + (size + WORD - 1) / WORD * WORD);
        sheet->pieces++;
    }
    atomic_store_explicit(&d->sheets.open, sheet, memory_order_release);
    return piece;
}

void mp__sheet_put(void *piece, mp__sheet_at at)
{
    mp__sheet *sheet = (mp__sheet *)((uint64_t *)piece - at);
    if (atomic_fetch_sub_explicit(&sheet->left, 1, memory_order_acq_rel) == 1)
        put_away(sheet);
}

/* --- the end ----------------------------------------------------------------------------------------------------------------- */

void mp__sheets_free(mp__dispatch *d)
{
    mp__sheet *sheet = atomic_exchange_explicit(&d->sheets.spare, NULL, memory_order_acquire);
    while (sheet) {
        mp__sheet *next = sheet->next;
        free(sheet);
        sheet = next;
    }
}

void mp__sheets_close(mp__dispatch *d)
{
    mp__sheet *sheet = atomic_exchange_explicit(&d->sheets.open, &busy, memory_order_acquire);
    atomic_store_explicit(&d->sheets.spare_count, SPARE_MAX, memory_order_relaxed); /* what comes back now is not kept */
    assert(sheet != &busy);                                                         /* nobody submits any more */
    if (sheet)
        shut(sheet);
    mp__sheets_free(d);
}
