/// Tensor trains and tensor chains of growing length: every axis of dimension 4, every bond of rank 8.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.Chains

open TensorNets

/// A chain of cores, without or with the bond that closes it to a ring.
let spec (closed: bool) (cores: int) : Spec =
    let bond i = Axis $"b{i % cores}"
    let mode i = Axis $"i{i}"
    let has i = closed || i % cores <> 0

    Spec.create
        [
            for i in 0 .. cores - 1 do
                mode i, 4

                if has i then
                    bond i, 8
        ]
        [
            for i in 0 .. cores - 1 ->
                {
                    Name = Spec.positionName i
                    Axes =
                        [
                            if has i then
                                bond i
                            mode i
                            if has (i + 1) then
                                bond (i + 1)
                        ]
                }
        ]
        [ for i in 0 .. cores - 1 -> mode i ]
    |> function
        | Ok spec -> spec
        | Error errors -> invalidOp $"%A{errors}"
