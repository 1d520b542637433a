/* The buffer: growing, fixed, and out of memory. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(buffer, .timeout = 60);

CHECK(buffer, reserve__more_and_more__keeps_what_is_there)
{
    mp__buffer buffer = {0};
    for (size_t i = 0; i < 100000; i++) {
        cr_assert(mp__buffer_reserve(&buffer, 1));
        buffer.data[buffer.size++] = (uint8_t)i;
    }
    for (size_t i = 0; i < 100000; i++)
        if (buffer.data[i] != (uint8_t)i)
            cr_fatal("%zu", i);
    cr_assert_lt(buffer.capacity, 200001);
    mp__buffer_fini(&buffer);
    cr_assert_null(buffer.data);
}

CHECK(buffer, reserve__nothing__still_gives_memory)
{
    mp__buffer buffer = {0};
    cr_assert(mp__buffer_reserve(&buffer, 0));
    cr_assert_not_null(buffer.data);
    mp__buffer_fini(&buffer);
}

CHECK(buffer, reserve__in_a_fixed_one__is_refused_when_full)
{
    uint8_t memory[10];
    mp__buffer buffer = {.data = memory, .size = 4, .capacity = 10, .fixed = true};
    cr_assert(mp__buffer_reserve(&buffer, 6));
    cr_assert_not(mp__buffer_reserve(&buffer, 7));
    cr_assert(buffer.data == memory && buffer.size == 4 && buffer.capacity == 10);
    mp__buffer_fini(&buffer); /* not ours to free */
}

CHECK(buffer, reserve__more_than_there_can_be__is_refused)
{
    mp__buffer buffer = {0};
    cr_assert(mp__buffer_reserve(&buffer, 10));
    buffer.size = 10;
    cr_assert_not(mp__buffer_reserve(&buffer, SIZE_MAX));
    cr_assert_not(mp__buffer_reserve(&buffer, SIZE_MAX - 9));
    cr_assert_not(mp__buffer_reserve(&buffer, PTRDIFF_MAX));
    mp__buffer_fini(&buffer);
}

CHECK(buffer, reserve__without_memory__changes_nothing)
{
    mp__buffer buffer = {0};
    cr_assert(mp__buffer_reserve(&buffer, 10));
    mp__buffer before = buffer;
    fail_allocation(0);
    bool given = mp__buffer_reserve(&buffer, 1 << 20);
    fail_no_allocation();
    cr_assert_not(given);
    cr_assert(buffer.data == before.data && buffer.capacity == before.capacity);
    mp__buffer_fini(&buffer);
}
