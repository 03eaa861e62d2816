/* A convolution's windows as rows of a matrix, so that the engine can multiply them with the filters. */
#include "kernel.h"

/* A line of a window: zeros, elements of x, zeros. Returns its end. */
TDCO_APART uint16_t *put_line(uint16_t *col, uint32_t before, const uint16_t *x, uint32_t inside, uint32_t after)
{
    if (before > 0)
        tdco_zero_f16(col, before);
    col += before;
    tdco_copy_f16(col, x, inside);
    col += inside;
    if (after > 0)
        tdco_zero_f16(col, after);
    return col + after;
}

/* col[b,oy,ox][ky,kx,c] = x[b, oy*sy - top + ky, ox*sx - left + kx, c], 0 outside of x, which is stored b, y, x, c.
 * p: x, col.  i: extents of b, oy, ox; ky, kx, c; extents of y, x in the tile; sy, sx; top, left. */
void tdco_im2col_f16(const tdco_args *a, uint32_t core, uint32_t cores)
{
    const int32_t nb = a->i[0], noy = a->i[1], nox = a->i[2], nky = a->i[3], nkx = a->i[4], nc = a->i[5];
    const int32_t ny = a->i[6], nx = a->i[7], sy = a->i[8], sx = a->i[9], top = a->i[10], left = a->i[11];
    const tdco_range share = tdco_share(nb * noy * nox, core, cores);
    const uint32_t line = share.begin / nox;
    int32_t ox = share.begin - line * nox, b = line / noy, oy = line - b * noy;
    uint16_t *col = (uint16_t *)a->p[1] + share.begin * (nky * nkx * nc);
    for (uint32_t window = share.begin; window < share.end; window++) {
        const int32_t y0 = oy * sy - top, x0 = ox * sx - left;
        /* kx in [from, to) lies inside x */
        const int32_t from = x0 < 0 ? -x0 : 0, to = nx - x0 < nkx ? nx - x0 : nkx;
        const uint16_t *x = (const uint16_t *)a->p[0] + ((b * ny + y0) * nx + x0 + from) * nc;
        for (int32_t y = y0; y < y0 + nky; y++, x += nx * nc) {
            const int outside = y < 0 || y >= ny;
            col = outside ? put_line(col, nkx * nc, x, 0, 0)
                          : put_line(col, from * nc, x, (to - from) * nc, (nkx - to) * nc);
        }
        if (++ox == nox) {
            ox = 0;
            if (++oy == noy) {
                oy = 0;
                b++;
            }
        }
    }
}
