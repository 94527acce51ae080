/// S of layers of any size: right in the layer's dtype, or said to be outside it with its logarithm.
module LayerRangeLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators
open Golden

/// The least and the largest power of ten that a dtype surely holds, and what it rounds to.
let private dtypes =
    [
        torch.float16, -4.0, 4.8, 1e-3
        torch.bfloat16, -37.5, 38.4, 1e-2
        torch.float32, -37.5, 38.4, 1e-5
        torch.float64, -307.0, 308.1, 1e-12
    ]

let private norms =
    [
        "plain", Norm.Frobenius
        "weighted", Norm.Weighted([ 0 ], (torch.eye (6, dtype = torch.float64)).mul(Num.tensor 1e-3))
        "weighted by a large Σ", Norm.Weighted([ 0 ], (torch.eye (6, dtype = torch.float64)).mul(Num.tensor 1e200))
        "weighted by a small Σ", Norm.Weighted([ 0 ], (torch.eye (6, dtype = torch.float64)).mul(Num.tensor 1e-200))
    ]

/// log10 S of cores in float64, in a norm that multiplies each entry's share of S by a number.
let private log10S (norm: Norm) (network: Network) =
    let factor =
        match norm with
        | Norm.Frobenius -> 0.0
        | Norm.Weighted(_, sigma) -> Math.Log10(sigma[0L, 0L].number())

    use wide = Network.copyAs torch.float64 network
    (Sensitivity.log10 wide).number() + factor

let private kinds: (string * ConvGeometry * string) list =
    [
        "Linear", ConvGeometry.ofLayer (torch.nn.Linear(6L, 5L)) |> ok, "ir, ro -> io | i=6 o=5 r=3"
        "Conv2d", ConvGeometry.ofLayer (torch.nn.Conv2d(6L, 5L, 3L)) |> ok, "ir, rhs, swo -> ihwo | i=6 o=5 h=3 w=3 r=3 s=2"
    ]

let private agrees (what: string) dtype (least: float) (most: float) digits norm (layer: FactorizedLayer) =
    use _ = torch.NewDisposeScope()
    let log = log10S norm (layer.Network())
    layer.SetNorm norm

    let found =
        try
            Ok(layer.Sensitivity())
        with :? TensorNetException as error ->
            Error(List.ofSeq error.Errors)

    match found with
    | Ok s ->
        Expect.equal s.dtype dtype $"{what}: dtype"
        Expect.isLessThan (log - most) 0.1 $"{what}: 1e{log} is no number of {dtype}"

        if log > least then
            near (4.0 * digits) (s.number ()) (Math.Pow(10.0, log)) what
    | Error [ TensorNetError.OutOfRange(_, said, _) ] ->
        Expect.isTrue (log > most - 0.1 || log < least) $"{what}: 1e{log} is a number of {dtype}"
        Expect.isLessThan (abs (said - log)) 1e-3 $"{what}: the logarithm"
    | Error other -> failtestf "%s: %A" what other

let all =
    testList
        "S of layers of any size"
        [
            for kind, geometry, text in kinds do
                for dtype, least, most, digits in dtypes do
                    testCase $"{kind}, {dtype}" (fun () ->
                        use _ = torch.NewDisposeScope()
                        use plain = Network.random torch.float64 3UL (Spec.parse [] text |> specOk)
                        // The largest core that the dtype holds and the least whose square is not lost to rounding of its own.
                        let most' =
                            if dtype = torch.float16 then 3.0
                            elif dtype = torch.float64 then 160.0
                            else 30.0

                        for share in [ -1.0; -0.6; -0.1; 0.0; 0.1; 0.6; 1.0 ] do
                            let log = if share < 0.0 && dtype = torch.float16 then 2.0 * share else share * most'
                            let scale = Math.Pow(10.0, log)
                            let cores = [| for core in plain.Cores -> core.mul(Num.tensor scale).``to`` dtype |]
                            use layer = Layers.ofNetwork None geometry None (new Network(plain.Spec, cores)) |> ok

                            for name, norm in norms do
                                agrees $"{name}, cores of 1e{log}" dtype least most digits norm layer)
        ]
