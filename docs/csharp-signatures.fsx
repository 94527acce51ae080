(**
---
title: C# signatures
category: Reference
categoryindex: 4
index: 9
---
# C# signatures, as the compiler has them

The [reference](reference/index.html) explains every type and parameter, in the notation of F#. Here are the same members as C# writes them, with default values, what may be null, and the types of
elements; made from the assemblies themselves.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.CSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/DocsHost.dll"

open System.IO
open System.Reflection
open TensorNets.Documents

let onnx =
    Path.Combine(__SOURCE_DIRECTORY__, "../src/TensorNets.Onnx/bin/Release/net10.0/TensorNets.Onnx.dll")

(** ## TensorNets.CSharp *)
(*** hide ***)
Signatures.page typeof<TensorNets.CSharp.Model>.Assembly
(*** include-it-raw ***)

(** ## TensorNets.Onnx *)
(*** hide ***)
Signatures.page (Assembly.LoadFrom onnx)
(*** include-it-raw ***)
