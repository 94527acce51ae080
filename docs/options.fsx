(**
---
title: Every option
category: Reference
categoryindex: 4
index: 4
---
# Every option and its default

What can be set, what it is where nothing is said, and what it means in short; the [reference](reference/index.html), which the headings lead to, says the rest. The tables are made from the types
themselves. In F# one starts from a module's `defaults` and writes what differs, `{ SweepOptions.defaults with Tolerance = 1e-9 }`; in C# one names what differs, `new FitOptions(Tolerance: 1e-9)`. Compressing a model has limits of its own for each layer, looser than those of one factorization: see `CompressOptions`.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.CSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/DocsHost.dll"

open TensorNets.Documents

(** ## In F# *)
(*** hide ***)
Options.fsharp typeof<TensorNets.SweepOptions>.Assembly
(*** include-it-raw ***)

(** ## In C# *)
(*** hide ***)
Options.csharp typeof<TensorNets.CSharp.FitOptions>.Assembly
(*** include-it-raw ***)

(** What the functions refuse, and what to do then: [every error](errors.html). *)
