/* A part of the work begins with this one of `pieces`: those before cost `before`, each of them
   `price`, and everything `total`. */
INLINE int first_work_item(int part, int parts, int pieces, long long before, long long price,
                    long long total)
{
    const long long at = (total * part / parts - before + price / 2) / price;
    return at < 0 ? 0 : at > pieces ? pieces : (int)at;
}
/* A position in a row of pieces, as one in some of them: from 0 to `most`. */
INLINE int clamp_index(int at, int most) { return at < 0 ? 0 : at > most ? most : at; }
#define TASK(number)                                                                     \
    INLINE void task_##number(const float *input __attribute__((unused)),                \
                                 float *output __attribute__((unused)),                     \
                                 int part __attribute__((unused)),                          \
                                 int parts __attribute__((unused)))
#define WORK_RANGE(pieces, before, price)                                                        \
    const int begin = first_work_item(part, parts, pieces, before, price, total),                  \
              end = first_work_item(part + 1, parts, pieces, before, price, total)
