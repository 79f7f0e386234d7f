/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/svg.h"

#include <math.h>

void svg_open(struct html *h, const struct svg_head *head)
{
    html_addf(h, "<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\" ",
              head->width, head->height, head->width, head->height);
    html_addf(h, "aria-labelledby=\"%s-t %s-d\">\n<title id=\"%s-t\">", head->id, head->id,
              head->id);
    html_text(h, head->title);
    html_addf(h, "</title>\n<desc id=\"%s-d\">", head->id);
    html_text(h, head->desc);
    html_add(h, "</desc>\n");
}

void svg_close(struct html *h)
{
    html_add(h, "</svg>\n");
}

struct svg_ticks svg_ticks_make(double low, double high, size_t wanted)
{
    if (!(high > low)) {
        double spread = low == 0.0 ? 1.0 : fabs(low) * 0.1;
        low -= spread;
        high = low + 2.0 * spread;
    }
    double rough = (high - low) / (double)(wanted == 0 ? 1 : wanted);
    double power = pow(10.0, floor(log10(rough)));
    double lead = rough / power;
    double step = (lead < 1.5 ? 1.0 : lead < 3.5 ? 2.0 : lead < 7.5 ? 5.0 : 10.0) * power;
    struct svg_ticks ticks = {.step = step, .first = floor(low / step + 1e-9) * step};
    double count = ceil((high - ticks.first) / step - 1e-9) + 1.0;
    ticks.count = count > SVG_TICKS_MAX ? SVG_TICKS_MAX : count < 2.0 ? 2 : (size_t)count;
    double decimals = -floor(log10(step) + 1e-9);
    ticks.decimals = decimals < 0.0 ? 0 : decimals > 12.0 ? 12 : (int)decimals;
    return ticks;
}
