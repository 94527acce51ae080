/// What the library is held against: contraction by loops over every index, with nothing of TorchSharp in it.
module Oracle

open TensorNets

/// Row-major entries of the tensor of a network, by one loop over all combinations of all axes.
let contract (spec: Spec) (cores: Map<string, float[]>) : float[] =
    let axes = spec.Dims |> Map.toArray |> Array.map fst
    let dims = spec.Dims |> Map.toArray |> Array.map snd
    let position = axes |> Array.mapi (fun i axis -> axis, i) |> dict

    /// The places of a list of axes among all axes, for row-major offsets.
    let places (list: Axis list) = list |> List.map (fun axis -> position[axis]) |> List.toArray

    let offset (places: int[]) (index: int[]) = places |> Array.fold (fun total place -> total * dims[place] + index[place]) 0

    let output = places spec.Output
    let size = output |> Array.fold (fun n place -> n * dims[place]) 1
    let result = Array.zeroCreate size

    let factors = [| for core in spec.Cores -> places core.Axes, cores[Spec.original core.Name] |]

    let index = Array.zeroCreate axes.Length
    let total = Array.fold (*) 1 dims

    for _ in 1..total do
        let product =
            factors |> Array.fold (fun product (places, values) -> product * values[offset places index]) 1.0

        let at = offset output index
        result[at] <- result[at] + product

        // The next combination, last axis fastest.
        let mutable i = axes.Length - 1

        while i >= 0 do
            index[i] <- index[i] + 1

            if index[i] < dims[i] then
                i <- -1
            else
                index[i] <- 0
                i <- i - 1

    result

/// The squared norm of the Jacobian of T in one core: T is linear in it, so each column is T with a unit tensor there.
let jacobianNorm2 (spec: Spec) (cores: Map<string, float[]>) (core: string) =
    let size = cores[core].Length

    Seq.init size (fun i -> contract spec (cores |> Map.add core (Array.init size (fun j -> if i = j then 1.0 else 0.0))))
    |> Seq.sumBy (Array.sumBy (fun x -> x * x))
