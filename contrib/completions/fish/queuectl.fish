function _queuectl_completion
    set -l token (commandline -ct)
    set -l words (commandline -opc)
    for item in (env COMP_WORDS=(commandline -cp | string collect) COMP_CWORD= _QUEUECTL_COMPLETE=fish_complete $words[1] 2>/dev/null)
        set -l part (string split -m 1 , -- $item)
        set -l prefix (string match -r '^--[^=]*=' -- $token)
        set -l begun (string replace -r '^--[^=]*=' '' -- $token)
        switch $part[1]
            case plain partial
                echo $part[2]
            case file
                for path in (__fish_complete_path "$begun")
                    echo "$prefix$path"
                end
            case dir
                for path in (__fish_complete_directories "$begun" '')
                    echo "$prefix$path"
                end
            case program
                complete -C "$token"
            case command
                set -l at (contains -i -- -- $words)
                set -e words[1..$at]
                complete -C (string join ' ' -- (string escape -- $words) "$token")
        end
    end
end
complete --no-files --command queuectl --arguments "(_queuectl_completion)"
