"""How a report looks: a style sheet, light and dark, for screens of any width."""

STYLE = """
:root { color-scheme: light dark;
  --back: #fbfbfa; --text: #1c1d1f; --dim: #6a6d73; --line: #dcdde0; --mark: #eef1f6;
  --s0: #7a7f87; --s1: #0b6bcb; --s2: #c4570c; --s3: #2a8a4a; --s4: #a03fb0; --s5: #b01f3c; }
@media (prefers-color-scheme: dark) { :root {
  --back: #17181a; --text: #e6e7e9; --dim: #989ca4; --line: #383b40; --mark: #23272e;
  --s0: #a2a7af; --s1: #5aa7f5; --s2: #f09a54; --s3: #63c787; --s4: #d58be2; --s5: #f0728b; } }
body { margin: 0 auto; max-width: 1180px; padding: 1rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.25rem; }
h3 { margin: 1.8rem 0 .4rem; font-size: 1rem; }
p { margin: .4rem 0; max-width: 80ch; }
code { overflow-wrap: anywhere; font-size: .85em; }
.dim, .note { color: var(--dim); }
.origin { font-size: .9rem; margin: .1rem 0; }
.note { font-size: .9rem; margin: 1.2rem 0 .2rem; }
.wide { overflow-x: auto; margin: .2rem 0 .6rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.ratio { display: inline-block; min-width: 3.6em; color: var(--dim); }
.own { background: var(--mark); }
figure { margin: 1.4rem 0; }
figcaption { margin-bottom: .3rem; font-size: .9rem; }
.strip { display: grid; gap: 2px; min-width: 560px; align-items: center; grid-template-columns: 6rem 1fr; }
.strip img { width: 100%; display: block; }
.strip span { font-size: .8rem; color: var(--dim); padding-right: .5rem; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: .5rem 1rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--dim); font: 10px system-ui, sans-serif; }
svg .title { fill: var(--text); font-size: 11px; font-weight: 600; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.grid { stroke: var(--line); fill: none; }
.s0 { stroke: var(--s0); fill: var(--s0); background: var(--s0); }
.s1 { stroke: var(--s1); fill: var(--s1); background: var(--s1); }
.s2 { stroke: var(--s2); fill: var(--s2); background: var(--s2); }
.s3 { stroke: var(--s3); fill: var(--s3); background: var(--s3); }
.s4 { stroke: var(--s4); fill: var(--s4); background: var(--s4); }
.s5 { stroke: var(--s5); fill: var(--s5); background: var(--s5); }
.line { fill: none; stroke-width: 1.6; }
.area { fill-opacity: .15; stroke-width: 1.4; }
.key { font-size: .85rem; margin: .3rem 0; }
.key span { margin-right: 1.2em; white-space: nowrap; }
.key i { display: inline-block; width: 1.4em; height: .25em; margin: 0 .4em .2em 0; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem; }
"""
