namespace TensorNets

/// Orders of contraction for double layers that need no search.
[<RequireQualifiedAccess>]
module internal DoubleLayerOrder =
    /// Each core with its second copy, then their products one after the other: nothing is cheaper for cores that have all of their bonds
    /// in common, as those of CP. Slots 2 j and 2 j + 1 are core j and its second copy; each pair fills the next. None for so few cores
    /// that every order is tried.
    let ofStar (cores: int) : struct (int * int) list option =
        if 2 * cores <= Plan.exactLimit then
            None
        else
            let layer j = 2 * cores + j
            let product j = if j = 0 then layer 0 else 3 * cores + j - 1

            Some
                [
                    for j in 0 .. cores - 1 do
                        struct (2 * j, 2 * j + 1)
                    for j in 1 .. cores - 1 do
                        struct (product (j - 1), layer j)
                ]
