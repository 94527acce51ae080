/// Kernels of the ResNet-18 trained on ImageNet whose file the build puts beside the program.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.TrainedKernels

open System
open System.IO
open Onnx
open TorchSharp

/// The weights (out, in, height, width) of all convolutions, in the order of the graph.
let read () : torch.Tensor list =
    let bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "ResNet18.onnx"))
    let graph = ModelProto.Parser.ParseFrom(bytes).Graph
    let weights = dict [ for weight in graph.Initializer -> weight.Name, weight ]

    [
        for node in graph.Node do
            if node.OpType = "Conv" then
                let weight = weights[node.Input[1]]
                torch.tensor(Seq.toArray weight.FloatData).reshape(Seq.toArray weight.Dims)
    ]
