/* The first of `items` work items of a part: those before cost `before`, each of them `cost`, and all
   work of the task `total`. */
INLINE int first_work_item(int part, int parts, int items, long long before, long long cost,
                           long long total)
{
    const long long at = (total * part / parts - before + cost / 2) / cost;
    return at < 0 ? 0 : at > items ? items : (int)at;
}
/* An index clamped to a range of work items: from 0 to `most`. */
INLINE int clamp_index(int at, int most) { return at < 0 ? 0 : at > most ? most : at; }
#define TASK(number)                                                                        \
    INLINE void task_##number(const float *input __attribute__((unused)),                   \
                              float *output __attribute__((unused)),                        \
                              int part __attribute__((unused)),                             \
                              int parts __attribute__((unused)))
#define WORK_RANGE(items, before, cost)                                                     \
    const int begin = first_work_item(part, parts, items, before, cost, total),             \
              end = first_work_item(part + 1, parts, items, before, cost, total)
