{{%AUTOESCAPE context="HTML"}}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{TITLE}} – kente</title>
@KENTE_PAGE_STYLE@
<style>
.tile b { font-size: 21px; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; background: currentColor; }
.under { height: 5px; border-radius: 3px; margin: 3px 0 1px auto; background: var(--blue); min-width: 1px; }
.under.b { background: var(--teal); }
h3 { font-size: 14px; margin: 12px 0 0; font-weight: 600; }
.devices table { min-width: 900px; }
.matrix { width: auto; min-width: 50%; }
.matrix th, .matrix td { padding: 6px 12px; border: 1px solid var(--line); text-align: center; white-space: nowrap; }
.matrix tr:last-child td { border-bottom: 1px solid var(--line); }
.matrix td { position: relative; min-width: 96px; font-variant-numeric: tabular-nums; }
.matrix td i { position: absolute; inset: 0; background: var(--teal); }
.matrix td span { position: relative; display: block; } .matrix td small { position: relative; color: var(--ink); opacity: .75; }
.finding { display: grid; grid-template-columns: 74px 1fr; gap: 2px 12px; padding: 8px 0; border-bottom: 1px solid var(--line); }
.finding:last-child { border-bottom: 0; } .finding b { font-weight: 600; }
.finding.warn b:first-child { color: var(--amber); } .finding.note b:first-child { color: var(--soft); }
.finding span { grid-column: 2; color: var(--soft); overflow-wrap: anywhere; }
.goodcell { color: var(--good); font-weight: 600; }
</style>
</head>
<body>
<main>
<header>
<div class="weave"></div>
<h1>{{TITLE}}</h1>
<p class="soft">{{SUBTITLE}}</p>
</header>
<div class="tiles">{{#TILE}}
<div class="tile"><span>{{NAME}}</span><b>{{VALUE}}</b></div>{{/TILE}}
</div>
{{#METRICS}}<section>
<h2>Side by side</h2><p>On the right how many times better the second is. A dash: not measured.</p>
<div class="scroll data"><table><tr><th></th><th class="n"><i class="key" style="color:var(--blue)"></i>{{A_NAME}}</th><th class="n"><i class="key" style="color:var(--teal)"></i>{{B_NAME}}</th><th class="n">the second</th></tr>{{#ROW}}
<tr><td>{{NAME}}</td><td class="n">{{A}}<div class="under" style="width:{{A_BAR}}%"></div></td><td class="n">{{B}}<div class="under b" style="width:{{B_BAR}}%"></div></td><td class="n"><span{{#GOOD}} class="goodcell"{{/GOOD}}>{{RATIO}}</span></td></tr>{{/ROW}}
</table></div>
</section>{{/METRICS}}
{{#FINDINGS}}<section>
<h2>What would hurt</h2><p>Named before it does.</p>
{{#NONE}}<div>Nothing was found.</div>{{/NONE}}{{#ROW}}<div class="finding {{CLASS}}"><b>{{SEVERITY}}</b><b>{{WHAT}}</b><span>{{TO_DO}}</span></div>
{{/ROW}}
</section>{{/FINDINGS}}
{{#DEVICES}}<section>
<h2>Devices</h2><p>Memory really free for one rank; GEMM and copy ceilings of one rank with all others at work; storage with all ranks writing. Bars compare the devices.</p>
<div class="scroll devices"><table><tr><th>device</th><th>kind</th><th>node</th><th class="n">memory</th><th class="n">GEMM</th><th class="n">copy</th><th class="n">storage</th><th class="n">sync</th><th class="n">power</th></tr>{{#ROW}}
<tr><td>{{ID}}</td><td>{{KIND}}</td><td>{{NODE}}</td><td class="n">{{MEMORY}}<div class="under" style="width:{{MEMORY_BAR}}%"></div></td><td class="n">{{GEMM}}<div class="under" style="width:{{GEMM_BAR}}%"></div></td><td class="n">{{COPY}}<div class="under" style="width:{{COPY_BAR}}%"></div></td><td class="n">{{STORAGE}}</td><td class="n">{{SYNC}}</td><td class="n">{{POWER}}</td></tr>{{/ROW}}
</table></div>
</section>{{/DEVICES}}
{{#LAYERS}}<section>
<h2>Layer times</h2><p>Milliseconds a grain, forward and both backwards together, over the size of the micro-batch: lower is better, and a line that falls gains from bigger micro-batches.</p>
<div class="legend">{{#LEGEND}}<span><i class="key shade{{SHADE}}"></i>{{NAME}}</span>{{/LEGEND}}</div>
{{#CHART}}<h3>{{TITLE}}</h3><div class="wide">{{WIDE:none}}</div><div class="narrow">{{NARROW:none}}</div>{{/CHART}}
</section>{{/LAYERS}}
{{#TIMES}}<section>
<h2>Every time measured</h2><p>Medians over rounds; spread: interquartile range over median.</p>
<details><summary>the table</summary>
<div class="scroll data"><table><tr><th>device</th><th>layer</th><th>dtype</th><th class="n">grains</th><th class="n">forward</th><th class="n">loss</th><th class="n">backward, inputs</th><th class="n">backward, weights</th><th class="n">spread</th></tr>{{#ROW}}
<tr><td>{{DEVICE}}</td><td>{{LAYER}}</td><td>{{DTYPE}}</td><td class="n">{{GRAINS}}</td><td class="n">{{FORWARD}}</td><td class="n">{{LOSS}}</td><td class="n">{{INPUTS}}</td><td class="n">{{WEIGHTS}}</td><td class="n">{{SPREAD}}</td></tr>{{/ROW}}
</table></div></details>
</section>{{/TIMES}}
{{#LINKS}}<section>
<h2>Links</h2><p>Bandwidth and latency between two ranks while both compute; the stronger the colour the faster. Point at a cell for the idle numbers.{{#CUT}} The first {{SHOWN}} ranks.{{/CUT}}</p>
<div class="scroll"><table class="matrix"><tr><th></th>{{#HEAD}}<th>{{ID}}</th>{{/HEAD}}</tr>{{#ROW}}
<tr><th>{{ID}}</th>{{#CELL}}<td title="{{IDLE}}"><i style="opacity:{{HEAT}}"></i><span>{{RATE}}</span><small>{{LATENCY}}</small></td>{{/CELL}}</tr>{{/ROW}}
</table></div>
</section>{{/LINKS}}
<footer>Made by kente bench. This page loads nothing from anywhere.</footer>
</main>
</body>
</html>
