namespace TensorNets

/// Formats that go by one rank.
[<RequireQualifiedAccess>]
module internal EqualRank =
    /// The largest rank of equal ranks whose network has at most so many parameters.
    let within (size: float) (shape: int list) (ofRank: int -> Format) : (Format * Spec) option =
        let attempt rank =
            match Format.spec shape (ofRank rank) with
            | Ok spec when float (Spec.parameters spec) <= size -> Some(ofRank rank, spec)
            | _ -> None

        let rec grow low high = if (attempt high).IsSome && high < (1 <<< 20) then grow high (2 * high) else bisect low high

        and bisect low high =
            if high - low <= 1 then
                attempt low
            else
                let middle = (low + high) / 2
                if (attempt middle).IsSome then bisect middle high else bisect low middle

        if (attempt 1).IsNone then None else grow 1 2
