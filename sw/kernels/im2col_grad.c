/* Which outputs of a convolution every pixel of its input had a part in, as rows of a matrix, so that the engine can
 * multiply them with the filters. */
#include "kernel.h"

/* col[b,y,x][ky,kx,c] = dy[b, (y + top - ky) / sy, (x + left - kx) / sx, c], 0 where that is no whole number or outside
 * of dy, which is stored b, y, x, c.
 * p: dy, col.  i: extents of b, y, x; ky, kx, c; extents of y, x in the tile of dy; sy, sx; top, left. */
void tdco_im2col_grad_f16(const tdco_args *a, uint32_t core, uint32_t cores)
{
    const int32_t nb = a->i[0], ny = a->i[1], nx = a->i[2], nky = a->i[3], nkx = a->i[4], nc = a->i[5];
    const int32_t rows = a->i[6], cols = a->i[7], sy = a->i[8], sx = a->i[9], top = a->i[10], left = a->i[11];
    const tdco_range share = tdco_share(nb * ny * nx, core, cores);
    uint16_t *col = (uint16_t *)a->p[1] + share.begin * (nky * nkx * nc);
    for (uint32_t pixel = share.begin; pixel < share.end; pixel++) {
        const int32_t line = pixel / nx, x = pixel - line * nx + left, b = line / ny, y = line - b * ny + top;
        for (int32_t ky = 0; ky < nky; ky++) {
            const int32_t row = (y - ky) / sy, fits = y >= ky && row < rows && row * sy == y - ky;
            for (int32_t kx = 0; kx < nkx; kx++) {
                const int32_t column = (x - kx) / sx;
                if (fits && x >= kx && column < cols && column * sx == x - kx) {
                    const uint16_t *dy = (const uint16_t *)a->p[0] + ((b * rows + row) * cols + column) * nc;
                    for (int32_t c = 0; c < nc; c++)
                        *col++ = *dy++;
                } else {
                    for (int32_t c = 0; c < nc; c++)
                        *col++ = 0;
                }
            }
        }
    }
}
