/* The arena in large pages, where the system gives some to who asks: planes that are read side by
   side lie on more small ones than a core remembers the places of. */
#if defined(__linux__)
#include <sys/mman.h>
#endif
static void request_huge_pages(void)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t large = 2u << 20, end = ((uintptr_t)A + sizeof A) & -large;
    const uintptr_t begin = ((uintptr_t)A + large - 1) & -large;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* if not, it is as it was */
#endif
}
