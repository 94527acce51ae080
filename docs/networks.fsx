(**
---
title: Networks and formats
category: Learn
categoryindex: 1
index: 3
---
# Networks and formats

A network is data: cores with named axes, the dimension of each axis, and the axes that stay open. The tensor is the sum, over every axis that is
not open, of the product of the cores:

$$T[\text{open axes}] = \sum_{\text{other axes}} \prod_k \theta_k[\text{axes of core } k].$$

It is written as an einsum with dimensions. No tensor is needed to read, check, print, draw or rewrite it.
*)

(*** hide ***)
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TorchSharp.dll"
#r ".build/DocsHost/bin/Release/net10.0/linux-x64/TensorNets.Core.dll"

(** Texts and specs have errors of their own, `SpecError`; the page stops at one: *)
open TensorNets

let orStop result =
    match result with
    | Ok value -> value
    | Error(errors: SpecError list) -> failwith $"%A{errors}"

(** A kernel of 64 input channels, 9 positions and 64 output channels as a tensor train: *)
let train = Spec.parse [] "sa, adb, bt -> sdt | s=64 d=9 t=64 a=12 b=12" |> orStop

printfn $"{Spec.print train}"
printfn $"{Spec.parameters train} entries instead of {64 * 9 * 64}"
(*** include-output ***)

(** `SpecDiagram.svg` draws it: a circle for each core, a line for each axis; open axes end free. *)
SpecDiagram.svg train
(*** include-it-raw ***)

(**
## The formats

`Format` names the usual networks, with their ranks; each is a spec and nothing else. Over a kernel *s*, *d*, *t*:
*)

let ofFormat format =
    match Format.spec [ 64; 9; 64 ] format with
    | Ok spec -> spec
    | Error errors -> failwith $"%A{errors}"

(** **CP**, a sum of 40 products of vectors. Three cores share the axis *r*, which no two of them own: a hyperedge, with a dot. *)
let cp = ofFormat (Format.CP 40)
(*** hide ***)
SpecDiagram.svg cp
(*** include-it-raw ***)

(** **Tucker-2**: channels are taken to fewer ones, the spatial kernel acts on these, and back. As a layer: 1×1, 3×3, 1×1. *)
let tucker2 = ofFormat (Format.Tucker2(16, 20))
(*** hide ***)
SpecDiagram.svg tucker2
(*** include-it-raw ***)

(** **Tucker**, where the positions have a rank too: *)
let tucker = ofFormat (Format.Tucker [ 16; 5; 20 ])
(*** hide ***)
SpecDiagram.svg tucker
(*** include-it-raw ***)

(** **Tensor chain**, also called tensor ring: the train's ends are joined. *)
let chain = ofFormat (Format.TensorChain [ 6; 6; 6 ])
(*** hide ***)
SpecDiagram.svg chain
(*** include-it-raw ***)

(** **Block terms**: a sum over *x* of Tucker networks; every core of a block carries *x*. *)
let blocks = ofFormat (Format.BlockTerm(3, [ 6; 4; 6 ]))
(*** hide ***)
SpecDiagram.svg blocks
(*** include-it-raw ***)

(**
**TT-matrix**: the matrix of a linear layer, 64×64 as (4·4·4)×(4·4·4); each core carries a factor of the rows and one of the columns.
*)
let ttMatrix =
    match Format.spec [ 64; 64 ] (Format.TensorTrainMatrix([ 4; 4; 4 ], [ 4; 4; 4 ], [ 5; 5 ])) with
    | Ok spec -> spec
    | Error errors -> failwith $"%A{errors}"
(*** hide ***)
SpecDiagram.svg ttMatrix
(*** include-it-raw ***)

(**
## Any other network

Whatever is written as a text is a network for everything else here too: contraction, sensitivity, gauge, least squares, correction, layers. Four
modes as a tree of the hierarchical kind:
*)
let tree =
    Spec.parse [] "sa, db, abe, tc, ud, cdf, ef -> sdtu | s=8 d=3 t=8 u=3 a=4 b=3 c=4 d=3 e=5 f=5"
(*** include-value: tree ***)

(** The text names the axis *d* twice, for a mode and for a bond. All errors of a network are found at once, and name its cores and axes; of a text that cannot be read, the places. Mended: *)
let mended =
    Spec.parse [] "sa, hb, abe, tc, wd, cdf, ef -> shtw | s=8 h=3 t=8 w=3 a=4 b=3 c=4 d=3 e=5 f=5"
    |> orStop
(*** hide ***)
SpecDiagram.svg mended
(*** include-it-raw ***)

(**
Rewrites are networks again. The squared norm of the chain above, two copies of it with the open axes joined, whose value is found core by core:
*)
let squared = Spec.normSq chain

printfn $"{squared}"
(*** include-output ***)

(*** hide ***)
SpecDiagram.svg squared
(*** include-it-raw ***)
