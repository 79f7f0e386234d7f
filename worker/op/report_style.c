/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The page's style. Nothing is loaded: the reader's own fonts, colours as variables, a dark set for
 * those who prefer it, and the light one on paper. No "<" and no "&", so that the page stays XML.
 */
#include "worker/op/report.h"

#define LIGHT                                                                                      \
    "--page:#ffffff;--soft:#f6f7f9;--ink:#16191f;--quiet:#667085;--line:#e3e6eb;--rule:#eceef2;"   \
    "--ok:#1b7f4d;--ok-soft:#e9f6ef;--bad:#c0341d;--bad-soft:#fdeeeb;--run:#2f5bd0;"               \
    "--run-soft:#ecf1fd;--off:#98a1b0;--off-soft:#f3f4f6;--warn:#a15c07;--c0:#2f5bd0;--c1:#"       \
    "d9730d;"                                                                                      \
    "--c2:#1b7f4d;--c3:#8a4fbf;--on:#ffffff;--edge:#b4bbc7;"
#define DARK                                                                                       \
    "--page:#101318;--soft:#171b22;--ink:#e7eaf0;--quiet:#98a2b3;--line:#2a303b;--rule:#20252e;"   \
    "--ok:#4cc38a;--ok-soft:#14261f;--bad:#ff7a66;--bad-soft:#2d1a18;--run:#82a4ff;"               \
    "--run-soft:#182238;--off:#7b8596;--off-soft:#191d24;--warn:#e5a54b;--c0:#82a4ff;--c1:#"       \
    "f2a154;"                                                                                      \
    "--c2:#4cc38a;--c3:#c39bea;--on:#0d1117;--edge:#4b5463;"

static const char page_css[] =
    ":root{color-scheme:light dark;" LIGHT "}\n"
    "@media (prefers-color-scheme:dark){:root{" DARK "}}\n"
    "*{box-sizing:border-box}\n"
    "html{-webkit-text-size-adjust:100%}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;font-variant-numeric:tabular-nums}\n"
    "main{max-width:1144px;margin:0 auto;padding:48px 32px 72px}\n"
    "h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;font-weight:650;margin:6px 0 10px;"
    "overflow-wrap:anywhere}\n"
    "h2{font-size:19px;letter-spacing:-.008em;font-weight:650;margin:0 0 18px}\n"
    "h3{font-size:14px;font-weight:600;margin:0 0 8px}\n"
    "section{margin-top:52px}\n"
    "p{margin:0 0 14px}\n"
    "a{color:inherit;text-decoration:underline;text-decoration-color:var(--edge);text-underline-"
    "offset:3px}\n"
    "code{overflow-wrap:break-word;font:12.5px/1.5 ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu "
    "Sans Mono',monospace}\n"
    ".quiet{color:var(--quiet)}\n.warn{color:var(--warn)}\n"
    ".hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}\n"
    ".kicker{color:var(--quiet);font-size:13px}\n"
    ".meta{display:flex;flex-wrap:wrap;gap:6px "
    "20px;align-items:center;color:var(--quiet);font-size:14px}\n"
    ".state{display:inline-block;border-radius:99px;padding:1px "
    "10px;font-size:12.5px;font-weight:550;"
    "background:var(--off-soft);color:var(--quiet)}\n"
    ".state.succeeded{background:var(--ok-soft);color:var(--ok)}\n"
    ".state.failed{background:var(--bad-soft);color:var(--bad)}\n"
    ".state.running{background:var(--run-soft);color:var(--run)}\n"
    ".cards{display:flex;flex-wrap:wrap;margin:30px 0 0;border:1px solid var(--line);"
    "border-radius:12px;overflow:hidden;gap:1px;background:var(--line)}\n"
    ".cards div{flex:1 1 132px;padding:15px 18px 14px;background:var(--page)}\n"
    ".cards dt{color:var(--quiet);font-size:13px}\n"
    ".cards dd{margin:1px 0 "
    "0;font-size:25px;line-height:1.3;font-weight:600;letter-spacing:-.015em;"
    "white-space:nowrap}\n"
    "nav{margin-top:22px;font-size:14px;display:flex;flex-wrap:wrap;gap:4px 20px}\n"
    "nav a{color:var(--quiet)}\n"
    ".facts{display:flex;flex-wrap:wrap;gap:12px 34px;margin:0 0 24px}\n"
    ".facts dt{color:var(--quiet);font-size:13px}\n"
    ".facts dd{margin:0;font-size:16px;font-weight:550}\n"
    ".facts dd.text{font-weight:400}\n"
    "table{border-collapse:collapse;width:100%;font-size:14px}\n"
    "table.narrow{width:auto;min-width:420px}\n"
    "th,td{text-align:left;padding:7px 14px 7px 0;border-bottom:1px solid "
    "var(--rule);vertical-align:baseline}\n"
    "th:last-child,td:last-child{padding-right:0}\n"
    "thead "
    "th{color:var(--quiet);font-weight:500;font-size:12.5px;border-bottom-color:var(--line);white-"
    "space:nowrap}\n"
    "tbody th{font-weight:550;overflow-wrap:anywhere;min-width:96px}\n"
    "tbody th .quiet{font-weight:400;font-size:13px}\n";

static const char table_css[] =
    ".n{text-align:right;white-space:nowrap}\n"
    ".pair{margin-right:10px}\n.pair b{font-weight:500;color:var(--ink)}\n"
    ".chip{font-size:11.5px;border:1px solid var(--line);border-radius:5px;padding:0 "
    "5px;color:var(--quiet);margin-left:4px}\n"
    ".verdict{font-weight:600}\n.pass{color:var(--ok)}\n.fail{color:var(--bad)}\n.open{color:var(--"
    "warn)}\n"
    "td.bar{width:110px;padding-left:4px}\n"
    "td.bar span{display:block;height:7px;border-radius:4px;background:var(--c0);opacity:.75}\n"
    "th.bar{position:relative}\n"
    "td.line{width:27%;padding-left:14px}\n"
    ".when{padding-left:14px}\n"
    "td.line span{display:block;height:9px;border-radius:3px;background:var(--off)}\n"
    "td.line .succeeded{background:var(--ok);opacity:.8}\ntd.line .failed{background:var(--bad)}\n"
    "td.line .running{background:var(--run)}\n"
    ".scroll{overflow-x:auto}\n"
    ".graph{margin-bottom:30px;max-height:86vh;overflow:auto}\n"
    "details{margin-top:26px}\n.columns+.panels,.facts+.panels{margin-top:34px}\n.below{margin-top:"
    "14px}\n"
    "summary{cursor:pointer;color:var(--quiet);margin-bottom:10px}\n"
    "figure{margin:0}\n"
    "svg{display:block;max-width:100%;height:auto}\n"
    ".graph svg{max-width:none}\n.graph.fit svg{max-width:100%}\n"
    "svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu "
    "Sans',sans-serif;"
    "font-variant-numeric:tabular-nums;fill:var(--ink)}\n"
    ".panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:"
    "30px 36px}\n"
    ".columns{display:grid;grid-template-columns:minmax(0,1.08fr) minmax(0,1fr);gap:34px "
    "44px;align-items:start}\n"
    ".columns table+*,.columns div+div{margin-top:30px}\n"
    "@media (max-width:880px){.graph.fit "
    "svg{max-width:none}.columns{grid-template-columns:minmax(0,1fr)}main{padding:28px 18px "
    "48px}}\n"
    "pre{background:var(--soft);border-radius:9px;padding:14px 18px;overflow-x:auto;margin:0;"
    "font:13px/1.65 ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}\n"
    "footer{margin-top:56px;padding-top:16px;border-top:1px solid "
    "var(--line);color:var(--quiet);font-size:13px}\n";

static const char drawing_css[] =
    ".edge{fill:none;stroke:var(--edge);stroke-width:1.4}\n.head{fill:var(--edge)}\n"
    ".stage .box{fill:var(--page);stroke:var(--line);stroke-width:1}\n"
    ".stage .tag{fill:var(--off)}\n.stage .mark{text-anchor:end;fill:var(--off)}\n"
    "svg .stage .name{font-size:13.5px;font-weight:600}\n"
    ".stage .uses{fill:var(--quiet);font-size:11.5px}\n"
    ".stage .time{fill:var(--quiet);font-size:11.5px;text-anchor:end}\n"
    ".stage.succeeded .box{fill:var(--ok-soft);stroke:none}\n"
    ".stage.succeeded .tag,svg .stage.succeeded .mark{fill:var(--ok)}\n"
    ".stage.failed .box{fill:var(--bad-soft);stroke:var(--bad)}\n"
    ".stage.failed .tag,svg .stage.failed .mark{fill:var(--bad)}\n"
    ".stage.running .box{fill:var(--run-soft);stroke:var(--run)}\n"
    ".stage.running .tag,svg .stage.running .mark{fill:var(--run)}\n"
    ".stage.skipped .box,.stage.cancelled .box{fill:var(--off-soft);stroke-dasharray:4 3}\n"
    ".rule{stroke:var(--rule)}\n.axis{stroke:var(--edge)}\n"
    "svg "
    ".tick{fill:var(--quiet);font-size:11.5px}\n.mid{text-anchor:middle}\n.end{text-anchor:end}\n"
    "svg .head{font-size:14px;font-weight:600;fill:var(--ink)}\nsvg path.head{fill:var(--edge)}\n"
    "svg .legend{font-size:12px;fill:var(--quiet)}\nsvg .note{font-size:11.5px;fill:var(--quiet)}\n"
    ".gap{fill:var(--c1);opacity:.1}\nfigcaption{font-size:13px;margin:2px 0 0 54px}\n"
    ".curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\n"
    ".curve.faint{stroke-width:1;opacity:.4}\n"
    ".curve.c0{stroke:var(--c0)}\n.curve.c1{stroke:var(--c1)}\n.curve.c2{stroke:var(--c2)}\n.curve."
    "c3{stroke:var(--c3)}\n"
    ".guide{stroke:var(--edge);stroke-dasharray:4 4}\n.bubble{fill:var(--c1);fill-opacity:.85}\n"
    ".dot{stroke:var(--page);stroke-width:2}\n.dot.c0{fill:var(--c0)}\n.dot.c1{fill:var(--c1)}\n"
    ".best{stroke:var(--edge);stroke-dasharray:3 3}\n"
    ".field{fill:var(--soft)}\n.hit{fill:var(--c0)}\n.miss{fill:var(--bad)}\n"
    ".count{text-anchor:middle}\nsvg .count.on{fill:var(--on)}\n";

static const char print_css[] =
    "@media print{:root{" LIGHT
    "}body{font-size:10.5pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}"
    "main{max-width:none;padding:0}nav{display:none}section{margin-top:26pt}"
    "h2{break-after:avoid}figure,tr,.cards{break-inside:avoid}"
    ".graph{max-height:none}.graph svg{max-width:100%}.scroll{overflow:visible}}\n";

void report_style_write(struct html *h)
{
    html_add(h, "<style>\n");
    html_add(h, page_css);
    html_add(h, table_css);
    html_add(h, drawing_css);
    html_add(h, print_css);
    html_add(h, "</style>\n");
}
