/// A dense layer of each kind, and the shape of an input.
module DenseKinds

open System
open Expecto
open TorchSharp
open TensorNets

let kinds: (string * (unit -> torch.nn.Module<torch.Tensor, torch.Tensor>) * int64 list) list =
    [
        "Linear", (fun () -> torch.nn.Linear(12L, 8L)), [ 5L; 12L ]
        "Conv1d", (fun () -> torch.nn.Conv1d(6L, 8L, 3L, padding_mode = PaddingModes.Circular, padding = 1L)), [ 2L; 6L; 9L ]
        "Conv2d in groups", (fun () -> torch.nn.Conv2d(6L, 8L, 3L, groups = 2L)), [ 2L; 6L; 7L; 8L ]
        "Conv3d", (fun () -> torch.nn.Conv3d(4L, 5L, 2L, stride = 2L)), [ 2L; 4L; 5L; 6L; 5L ]
        "ConvTranspose1d", (fun () -> torch.nn.ConvTranspose1d(4L, 6L, 3L, stride = 2L, output_padding = 1L)), [ 2L; 4L; 5L ]
        "ConvTranspose2d in groups", (fun () -> torch.nn.ConvTranspose2d(4L, 6L, 3L, groups = 2L, bias = false)), [ 2L; 4L; 5L; 5L ]
    ]

/// A test for each kind, in float64, in a dispose scope of its own.
let overKinds what check =
    testList
        what
        [
            for name, make, shape in kinds ->
                testCase name (fun () ->
                    use _ = torch.NewDisposeScope()
                    use dense = make ()
                    dense.``to`` torch.float64 |> ignore
                    check dense shape)
        ]
