// A C++17 program: the calls behind the macros, with a task that a C file registers.
#include <cstdio>
#include <millpond.h>
#include <vector>

extern "C" const mp_task *square_task(void);

int main()
{
    mp_error error{};
    mp_pool_options options{};
    options.processes = 2;
    options.error = &error;
    mp_pool *pool = nullptr;
    if (mp_pool_open_with(&pool, &options) != MP_OK) {
        mp_perror(&error);
        return 1;
    }
    std::vector<int32_t> in(1000);
    for (size_t i = 0; i < in.size(); i++)
        in[i] = static_cast<int32_t>(i);
    std::vector<int64_t> out(in.size());
    mp_map_options how{};
    how.error = &error;
    mp_status status = mp_pool_map_task(pool, square_task(), in.data(), in.size(), out.data(), &how);
    mp_pool_close(pool);
    if (mp_pool_join(pool) != MP_OK || status != MP_OK) {
        mp_perror(&error);
        return 1;
    }
    mp_pool_free(&pool);
    if (mp_task_find("square") != square_task() || mp_str_of("four").size != 4)
        return std::puts("a lookup is wrong"), 1;
    for (size_t i = 0; i < in.size(); i++)
        if (out[i] != static_cast<int64_t>(i * i))
            return std::puts("an item is wrong"), 1;
    std::puts("it works");
}
